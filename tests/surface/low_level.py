# Names, paths, lists, tables and plain loaders.
# %%
import os
import pathlib
import tempfile

theirs = {cls: set(vars(cls)) for cls in (pathlib.Path, type(pathlib.Path()), pathlib.PurePath)}
# %%
from foveal.collab.all import *
from foveal.vision.all import *
# %%
theirs_torch = set(vars(torch.Tensor))
theirs_frame = set(vars(pd.DataFrame))
for cls, names in theirs.items():
    assert set(vars(cls)) == names
# %%
[x.__name__ for x in (pd, np, torch, nn, F, math, string, random, re)]
# Out: \['pandas',\s+'numpy',\s+'torch',\s+'torch.nn',\s+'torch.nn.functional',\s+'math',\s+'string',\s+'random',\s+'re'\]
# %%
[x.__name__ for x in (partial, Path, L, tensor, first)]
# Out: \['partial', 'Path', 'L', 'tensor', 'first'\]
# %%
plt.figure is not None
# Out: True
# %%
Path.__mro__[1] is type(pathlib.Path()), Path.cwd(), Path("a") / "b"
# Out: \(True,\s+Path\('/.*'\),\s+Path\('a/b'\)\)

# Where data lie
# %%
home = os.environ["FOVEAL_HOME"]
os.environ["FOVEAL_HOME"] = tempfile.mkdtemp()
for name in ("pascal_2007", "biwi_head_pose", "oxford-iiit-pet", "ml-100k"):
    (Path(os.environ["FOVEAL_HOME"]) / "data" / name).mkdir(parents=True)
[untar_data(url).name for url in (URLs.PASCAL_2007, URLs.BIWI_HEAD_POSE, URLs.PETS, URLs.ML_100k)]
# Out: \['pascal_2007', 'biwi_head_pose', 'oxford-iiit-pet', 'ml-100k'\]
# %%
untar_data(URLs.PETS)
# Out: ^Path\('/.*/data/oxford-iiit-pet'\)$
# %%
user_home = os.environ.get("HOME")
os.environ["HOME"] = tempfile.mkdtemp()
os.environ["FOVEAL_HOME"] = tempfile.mkdtemp()
(Path.home() / ".fastai" / "data" / "pascal_2007").mkdir(parents=True)
path = untar_data(URLs.PASCAL_2007)
path.relative_to(Path.home()), list(Path(os.environ["FOVEAL_HOME"]).iterdir())
# Out: \(Path\('.fastai/data/pascal_2007'\), \[\]\)
# %%
os.environ["http_proxy"] = os.environ["https_proxy"] = "http://127.0.0.1:9"
untar_data(URLs.BIWI_HEAD_POSE)
# raises: FetchError: https://s3.amazonaws.com/fast-ai-imagelocal/biwi_head_pose.tgz could not be fetched .* By hand: .*/data/biwi_head_pose.*SAMPLE_PASCAL
# %%
del os.environ["http_proxy"], os.environ["https_proxy"]
os.environ["FOVEAL_HOME"] = home
os.environ["HOME"] = user_home

# Paths and lists
# %%
path = untar_data(URLs.SAMPLE_PASCAL)
path.ls()
# Out: ^\(#4\) \[Path\('/.*/sample_pascal/test'\),Path\('/[^ ]*test.csv'\),Path\('/[^ ]*'\),Path\('/[^ ]*/train.csv'\)\]$
# %%
(path / "train").ls()
# Out: ^\(#2\d\d\) \[(Path\('/[^ ]*jpg'\),){9}Path\('/[^ ]*jpg'\)\.\.\.\]$
# %%
Path.BASE_PATH = path
path.ls().sorted()
# Out: ^\(#4\) \[Path\('test'\),Path\('test.csv'\),Path\('train'\),Path\('train.csv'\)\]$
# %%
(path / "train").ls().sorted()
# Out: ^\(#2\d\d\) \[Path\('train/0.*\.\.\.\]$
# %%
p = (path / "train").ls()[0]
p
# Out: ^Path\('train/000000.jpg'\)$
# %%
str(p) == f"{path}/train/000000.jpg", p.name, p.exists(), open(p, "rb").read(2)
# Out: \(True, '000000.jpg', True, b'\\xff\\xd8'\)
# %%
fnames = get_image_files(path)
fnames
# Out: ^\(#2\d\d\) \[Path\('test/000240.jpg'\),Path\('test/000241.jpg'\)
# %%
type(fnames).__name__, fnames == fnames.sorted(), type(fnames[0]) is Path
# Out: \('L', True, True\)
# %%
there = Path(tempfile.mkdtemp())
for name in ("b/2.jpg", "a/1.png", ".hidden/3.jpg", "a/notes.txt"):
    (there / name).parent.mkdir(exist_ok=True)
    (there / name).touch()
get_image_files(there).map(lambda o: o.name)
# Out: ^\(#2\) \['1.png','2.jpg'\]$
# %%
l = L(["d", "a", "c", "b"])
l.sorted(), l.map(str.upper), len(l), list(l)
# Out: \(\(#4\) \['a','b','c','d'\], \(#4\) \['D','A','C','B'\], 4, \['d', 'a', 'c', 'b'\]\)
# %%
l[0], l[-1], l[1:3], l[[0, 2]], l[tensor([0, 2])]
# Out: \('d', 'b', \(#2\) \['a','c'\], \(#2\) \['d','c'\], \(#2\) \['d','c'\]\)
# %%
l[[True, False, False, True]], l[tensor([1, 0, 0, 1]) == 1], l[np.array([True, False, False, True])]
# Out: \(\(#2\) \['d','b'\], \(#2\) \['d','b'\], \(#2\) \['d','b'\]\)
# %%
l == ["d", "a", "c", "b"], l == ["d", "a", "c", "b"], l == l.sorted()
# Out: \(True, True, False\)
# %%
l[torch.where(tensor([0.0, 1.0, 1.0, 0.0]) == 1.0)[0]]
# Out: \(#2\) \['a','c'\]
# %%
L(range(12))
# Out: ^\(#12\) \[0,1,2,3,4,5,6,7,8,9\.\.\.\]$
# %%
first(l), first(l.sorted())
# Out: \('d', 'a'\)
# %%
c1, c2 = np.float64(384.6), np.float64(259.5)
tensor([c1, c2])
# Out: ^tensor\(\[384\.6000, 259\.5000\]\)$
# %%
tensor(5), tensor(1, 2, 3), tensor([1, 2]), tensor(np.zeros(2)).dtype, tensor(pd.Series([0.5, 1])), tensor(2.5).dtype
# Out: \(tensor\(5\),\s+tensor\(\[1, 2, 3\]\),\s+tensor\(\[1, 2\]\),\s+torch.float32,\s+tensor\(\[0.5000, 1.0000\]\),\s+torch.float32\)

# Tables
# %%
df = pd.read_csv(path / "train.csv")
df.head()
# Out: fname +labels +is_valid
# shows: text/html
# %%
df.iloc[:, 0]
# Out: 000000.jpg
# %%
df.iloc[0, :]
# %%
df.iloc[0]
# %%
df["fname"]
# %%
tmp_df = pd.DataFrame({"a": [1, 2], "b": [3, 4]})
tmp_df["c"] = tmp_df["a"] + tmp_df["b"]
tmp_df
# Out: 0 +1 +3 +4
# %%
r = df.iloc[3]
r["fname"], r["labels"].split(" ")
# Out: \('\d{6}.jpg', \['.*'\]\)

# Datasets and loaders by hand
# %%
a = list(enumerate(string.ascii_lowercase))
a[0], len(a)
# Out: \(\(0, 'a'\), 26\)
# %%
dl_a = DataLoader(a, batch_size=8, shuffle=True)
b = first(dl_a)
b
# Out: ^\(tensor\(\[[\d, ]+\]\),\s+\('[a-z]'(, '[a-z]'){7}\)\)$
# %%
list(zip(b[0], b[1]))
# Out: ^\[\(tensor\(\d+\), '[a-z]'\)
# %%
list(zip(*b))
# Out: ^\[\(tensor\(\d+\), '[a-z]'\)
# %%
type(b).__name__, first(DataLoader(a, bs=3)), len(DataLoader(a, bs=8))
# Out: \('tuple', \(tensor\(\[0, 1, 2\]\), \('a', 'b', 'c'\)\), 4\)
# %%
a = list(string.ascii_lowercase)
a[0], len(a)
# Out: \('a', 26\)
# %%
dss = Datasets(a)
dss[0]
# Out: ^\('a',\)$
# %%
def f1(o): return o+'a'
def f2(o): return o+'b'
# %%
dss = Datasets(a, [[f1]])
dss[0]
# Out: ^\('aa',\)$
# %%
dss = Datasets(a, [[f1, f2]])
dss[0]
# Out: ^\('aab',\)$
# %%
dss = Datasets(a, [[f1], [f2]])
dss[0]
# Out: ^\('aa', 'ab'\)$
# %%
dls = DataLoaders.from_dsets(dss, batch_size=4)
first(dls.train)
# Out: ^\(\('[a-z]a'(, '[a-z]a'){3}\), \('[a-z]b'(, '[a-z]b'){3}\)\)$
# %%
x, y = dls.one_batch()
[o[0] for o in x] == [o[0] for o in y]
# Out: True
# %%
dls.valid
# raises: InputError: There is no validation side
# %%
train, valid = Datasets(a, [[f1]], splits=([0, 2], [1])).train, Datasets(a, [[f1]], splits=([0, 2], [1])).valid
train[1], valid[0], len(train)
# Out: \(\('ca',\), \('ba',\), 2\)
# %%
dsets = DataBlock().datasets(pd.DataFrame({"fname": range(5011)}))
len(dsets.train), len(dsets.valid)
# Out: ^\(4009, 1002\)$
# %%
calls = []
dsets = DataBlock(get_x=lambda o: calls.append(o) or o).datasets(list(range(100)))
before = len(calls)
dsets.train[4], before, len(calls)
# Out: \(\((\d+), \1\), 0, 1\)
# %%
sides = [DataBlock().datasets(list(range(50))).valid[0] for _ in range(6)]
len(set(sides)) > 1
# Out: True
# %%
dsets.vocab
# raises: InputError: .*no vocabulary
# %%
to_cpu((torch.zeros(2), [torch.ones(1), ("a",)]))
# Out: \(tensor\(\[0., 0.\]\), \[tensor\(\[1.\]\), \('a',\)\]\)

# Splits
# %%
torch.manual_seed(3)
random.seed(3)
np.random.seed(3)
state = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
train, valid = RandomSplitter(valid_pct=0.2, seed=42)(range(20))
again = RandomSplitter(valid_pct=0.2, seed=42)(range(20))
assert torch.equal(state[0], torch.get_rng_state()) and state[1:] == (
    random.getstate(),
    np.random.get_state()[1].tolist(),
)
len(train), len(valid), (list(train), list(valid)) == tuple(map(list, again))
# Out: \(16, 4, True\)
# %%
def rows(splitter, items=df):
    dsets = DataBlock(splitter=splitter).datasets(items)
    return len(dsets.train), len(dsets.valid)


rows(ColSplitter()) == (int((~df["is_valid"]).sum()), int(df["is_valid"].sum())) == rows(ColSplitter("is_valid"))
# Out: True
# %%
def splitter(df):
    train = df.index[~df["is_valid"]].tolist()
    valid = df.index[df["is_valid"]].tolist()
    return train, valid


rows(splitter) == rows(ColSplitter())
# Out: True
# %%
(
    rows(FuncSplitter(lambda r: r["fname"] < "000010.jpg")),
    rows(IndexSplitter([0, 5])),
    rows(MaskSplitter(df["is_valid"])) == rows(ColSplitter()),
)
# Out: \(\(\d+, 10\), \(\d+, 2\), True\)
# %%
files = [Path(f"x/{side}/{kind}/{i}.jpg") for side in ("train", "valid") for kind in "ab" for i in range(3)]
rows(GrandparentSplitter(), files), rows(GrandparentSplitter(train_name="train", valid_name="valid"), files)
# Out: \(\(6, 6\), \(6, 6\)\)
# %%
Path("valid.txt").write_text("000003.jpg\n000005.jpg\n")
rows(FileSplitter("valid.txt"), get_image_files(path / "train"))
# Out: \(\d+, 2\)
# %%
df["person"] = [i // 10 for i in range(len(df))]
train, valid = GroupSplitter("person", valid_pct=0.2, seed=1)(df)
set(df["person"][train]) & set(df["person"][valid])
# Out: set\(\)
# %%
train, valid = StratifiedSplitter(lambda r: r["labels"].split(" "), valid_pct=0.25, seed=1)(df)
names = sorted(set(" ".join(df["labels"]).split()))
counts = [sum(name in o.split() for o in df["labels"]) for name in names]
found = [sum(name in o.split() for o in df["labels"][valid]) for name in names]
max(abs(n / 4 - m) for n, m in zip(counts, found)) < 2
# Out: True
# %%
train, valid = StratifiedSplitter(lambda r: r["labels"].split(" "), group="person")(df)
set(df["person"][train]) & set(df["person"][valid])
# Out: set\(\)
# %%
rows(lambda items: ([0, 1, 2], [2, 3]))
# raises: InputError: 1 items are on both sides of the split, for instance number 2
# %%
rows(ColSplitter(), df.assign(is_valid=False))
# raises: InputError: The split leaves nothing for validation
# %%
rows(IndexSplitter(range(len(df))))
# raises: InputError: The split leaves nothing for training

# Getters
# %%
(
    ColReader("labels", label_delim=" ")(df.iloc[2]),
    ColReader("fname", pref=path / "train")(df.iloc[2]),
    ColReader("fname", pref="p/", suff=".x")(df.iloc[2]),
)
# Out: \(\['.*'\], Path\('train/\d+.jpg'\), 'p/\d+.jpg.x'\)
# %%
using_attr(RegexLabeller(r"(.+)_\d+.jpg$"), "name")(Path("images/great_pyrenees_173.jpg")), parent_label("a/cat/1.jpg")
# Out: \('great_pyrenees', 'cat'\)
# %%
RegexLabeller(r"(.+)_\d+.jpg$")("images/nothing.png")
# raises: InputError: The pattern .* does not match 'images/nothing.png'
# %%
DataBlock(get_y=using_attr(RegexLabeller(r'(.+)_\d+.jpg$'), 'name')).datasets([Path(f'images/{o}_x.jpg') for o in 'abcdef']).train[0]
# raises: InputError: .*does not match '[a-f]_x.jpg'
# %%
DataBlock(get_itms=get_image_files)
# raises: UnknownNameError: .*get_itms.*Did you mean `get_items`
# %%
DataBlock(blocks=(ImageBlock, CategoryBlock), get_items=get_image_files, batch_tfm=aug_transforms())
# raises: UnknownNameError: .*Did you mean `batch_tfms`

# Numbers
# %%
sigmoid_range(tensor([-100.0, 0.0, 100.0]), -1, 1), sigmoid_range(tensor(0.), 0, 5.5)
# Out: \(tensor\(\[-1.,  0.,  1.\]\), tensor\(2.7500\)\)
# %%
plot_function(torch.sigmoid, min=-4, max=4)
# shows: image/png
# %%
plot_function(lambda x: x**2, tx="x", ty="x**2", title="square", min=-2, max=2, figsize=(6, 4))
# shows: image/png
# %%
plt.plot(torch.linspace(0, 1, 3), [tensor(0.1), tensor(0.5), tensor(0.2)])
# shows: image/png
# %%
accuracy(tensor([[1.0, 2.0], [3.0, 0.0]]), tensor([1, 1])), error_rate(tensor([[1.0, 2.0], [3.0, 0.0]]), tensor([1, 1]))
# Out: \(tensor\(0.5000.*\), tensor\(0.5000.*\)\)
# %%
(
    accuracy_multi(tensor([[3.0, -3.0]]), tensor([[1.0, 1.0]])),
    accuracy_multi(tensor([[0.3, 0.1]]), tensor([[1.0, 0.0]]), thresh=tensor(0.2), sigmoid=False),
)
# Out: \(tensor\(0.5000.*\), tensor\(1.*\)\)
# %%
def say_hello(name, say_what="Hello"):
    return f"{say_what} {name}."


f = partial(say_hello, say_what="Bonjour")
f("Jeremy"), f("Sylvain")
# Out: \('Bonjour Jeremy.', 'Bonjour Sylvain.'\)
# %%
(
    set(vars(torch.Tensor)) == theirs_torch,
    set(vars(pd.DataFrame)) == theirs_frame,
    all(set(vars(cls)) == names for cls, names in theirs.items()),
)
# Out: \(True, True, True\)
