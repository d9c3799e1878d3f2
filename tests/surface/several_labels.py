# Several labels per image: chapter 6, its first half.
# %%
from foveal.vision.all import *
# %%
path = untar_data(URLs.SAMPLE_PASCAL)
Path.BASE_PATH = path
df = pd.read_csv(path/'train.csv')
df.head()
# Out: fname +labels +is_valid
# %%
dblock = DataBlock()
dsets = dblock.datasets(df)
len(dsets.train),len(dsets.valid)
# Out: ^\(1\d\d, 4\d\)$
# %%
x,y = dsets.train[0]
x,y
# Out: ^\(fname +\d{6}.jpg\n
# %%
x['fname'] == y['fname']
# Out: True
# %%
dblock = DataBlock(get_x = lambda r: r['fname'], get_y = lambda r: r['labels'])
dsets = dblock.datasets(df)
dsets.train[0]
# Out: ^\('\d{6}.jpg', '[a-z ]+'\)$
# %%
def get_x(r): return r['fname']
def get_y(r): return r['labels']
dblock = DataBlock(get_x = get_x, get_y = get_y)
dsets = dblock.datasets(df)
dsets.train[0]
# Out: ^\('\d{6}.jpg', '[a-z ]+'\)$
# %%
def get_x(r): return path/'train'/r['fname']
def get_y(r): return r['labels'].split(' ')
dblock = DataBlock(get_x = get_x, get_y = get_y)
dsets = dblock.datasets(df)
dsets.train[0]
# Out: ^\(Path\('train/\d{6}.jpg'\), \['[a-z]+'.*\]\)$
# %%
dblock = DataBlock(blocks=(ImageBlock, MultiCategoryBlock),
                   get_x = get_x, get_y = get_y)
dsets = dblock.datasets(df)
dsets.train[0]
# Out: ^\(PILImage mode=RGB size=\d+x\d+,\s+TensorMultiCategory\(\[[01]\.(, [01]\.){7}\]\)\)$
# %%
idxs = torch.where(dsets.train[0][1]==1.)[0]
dsets.train.vocab[idxs]
# Out: ^\(#\d\) \['[a-z]+'.*\]$
# %%
x,y = dsets.train[0]
torch.where(y==1.)
# Out: ^\(tensor\(\[\d.*\]\),\)$
# %%
x
# Out: ^PILImage mode=RGB size=\d+x\d+$
# shows: image/png
# %%
y
# Out: ^TensorMultiCategory\(\[
# %%
y + 1, y.sum(), type(y * 2).__name__
# Out: ^\(tensor\(\[.*tensor\(\d.\), 'Tensor'\)$
# %%
len(dsets.train.vocab), dsets.train.vocab == sorted(dsets.train.vocab), dsets.vocab
# Out: ^\(8,\s+True,\s+\(#8\) \['[a-z]+'
# %%
def splitter(df):
    train = df.index[~df['is_valid']].tolist()
    valid = df.index[df['is_valid']].tolist()
    return train,valid

dblock = DataBlock(blocks=(ImageBlock, MultiCategoryBlock),
                   splitter=splitter,
                   get_x=get_x,
                   get_y=get_y)
dsets = dblock.datasets(df)
dsets.train[0]
# Out: ^\(PILImage mode=RGB size=\d+x\d+,\s+TensorMultiCategory\(
# %%
dblock.dataloaders(df)
# raises: InputError: Images need one size .*Add one: item_tfms=Resize\(224\)
# %%
dblock = DataBlock(blocks=(ImageBlock, MultiCategoryBlock),
                   splitter=splitter,
                   get_x=get_x,
                   get_y=get_y,
                   item_tfms = RandomResizedCrop(64, min_scale=0.35))
dls = dblock.dataloaders(df)
dls.show_batch(nrows=1, ncols=3)
# shows: image/png
# %%
dls.show_batch(max_n=9, figsize=(8,6))
# shows: image/png
# %%
dls.train.show_batch(nrows=3, ncols=3)
' '.join(o.get_text() for ax in plt.gcf().axes for o in [*ax.texts, ax.title])
# Out: [a-z]; ?[a-z]
# shows: image/png
# %%
dls.valid.show_batch(nrows=1, ncols=3)
# shows: image/png
# %%
dls.vocab, dls.classes == dls.vocab, dls.valid.n == df['is_valid'].sum()
# Out: ^\(\(#8\) \[.*\],\s+True,\s+(np\.)?True_?
# %%
xb,yb = dls.one_batch()
xb.shape, yb.shape, type(xb).__name__, type(yb).__name__, xb.device == dls.device
# Out: torch.Size\(\[64, 3, 64, 64\]\),\s+torch.Size\(\[64, 8\]\),\s+'Tensor',\s+'Tensor',\s+True\)
# %%
[len(x) for x,y in dls.train] == [64] * ((~df['is_valid']).sum() // 64)
# Out: True
# %%
learn = vision_learner(dls, resnet18, pretrained=False)
x,y = to_cpu(dls.train.one_batch())
activs = learn.model(x)
activs.shape
# Out: ^torch.Size\(\[64, 8\]\)$
# %%
activs[0]
# Out: ^tensor\(\[[\s\S]*grad_fn
# %%
learn.model.forward(x).shape, isinstance(learn.model, nn.Module), len(list(learn.model.children()))
# Out: ^\(torch.Size\(\[64, 8\]\), True, 2\)$
# %%
def binary_cross_entropy(inputs, targets):
    inputs = inputs.sigmoid()
    return -torch.where(targets==1, inputs, 1-inputs).log().mean()
binary_cross_entropy(activs, y)
# Out: ^tensor\(\d\.\d+, grad_fn
# %%
loss_func = nn.BCEWithLogitsLoss()
loss = loss_func(activs, y)
loss
# Out: ^tensor\(\d\.\d+, grad_fn
# %%
loss_func = dls.loss_func
loss_func, torch.allclose(loss_func(activs, y), loss)
# Out: ^\(FlattenedLoss of BCEWithLogitsLoss\(\), True\)$
# %%
((activs.sigmoid() - y)**2).mean() + (y * activs).sum() + (activs > y).float().mean() + F.mse_loss(activs, y)
# Out: ^tensor\(
# %%
def accuracy(inp, targ, axis=-1):
    "Compute accuracy with `targ` when `pred` is bs * n_classes"
    pred = inp.argmax(dim=axis)
    return (pred == targ).float().mean()
accuracy(activs, y[:, 0])
# Out: ^tensor\(
# %%
dblock = DataBlock(blocks=(ImageBlock, MultiCategoryBlock), splitter=splitter, get_x=get_x, get_y=get_y,
                   item_tfms=RandomResizedCrop(32, min_scale=0.35))
few = pd.concat([df[df['is_valid']][:10], df[~df['is_valid']][:32]], ignore_index=True)
learn = vision_learner(dblock.dataloaders(few, bs=16), resnet50, metrics=partial(accuracy_multi, thresh=0.2), pretrained=False)
learn.fine_tune(1, base_lr=3e-3, freeze_epochs=1)
# %%
dls = dblock.dataloaders(df, bs=16)
learn = vision_learner(dls, 'test_resnet', metrics=partial(accuracy_multi, thresh=0.2), pretrained=False)
learn.fine_tune(3, base_lr=3e-3, freeze_epochs=4)
# %%
learn.metrics = partial(accuracy_multi, thresh=0.1)
low = learn.validate()
low
# Out: ^\(#2\) \[\d\.\d+,\d\.\d+\]$
# %%
learn.metrics = partial(accuracy_multi, thresh=0.99)
learn.validate()[0] == low[0], learn.validate()[1] != low[1]
# Out: ^\(True, True\)$
# %%
def accuracy_multi(inp, targ, thresh=0.5, sigmoid=True):
    "Compute accuracy when `inp` and `targ` are the same size."
    if sigmoid: inp = inp.sigmoid()
    return ((inp>thresh)==targ.bool()).float().mean()
learn.metrics = partial(accuracy_multi, thresh=0.1)
abs(learn.validate()[1] - low[1]) < 1e-6
# Out: True
# %%
learn.fit(1)
learn.recorder.history[-1].metrics.keys()
# Out: ^dict_keys\(\['accuracy_multi'\]\)$
# %%
preds,targs = learn.get_preds()
preds.shape[0] == dls.valid.n, preds.min() >= 0, preds.max() <= 1, preds.device
# Out: ^\(True, tensor\(True\), tensor\(True\), device\(type='cpu'\)\)$
# %%
accuracy_multi(preds, targs, thresh=0.9, sigmoid=False)
# Out: ^tensor\(0\.\d+\)$
# %%
xs = torch.linspace(0.05,0.95,29)
accs = [accuracy_multi(preds, targs, thresh=i, sigmoid=False) for i in xs]
plt.plot(xs,accs);
# shows: image/png
# %%
torch.equal(targs, torch.stack([dls.valid.dataset[i][1] for i in range(len(targs))]))
# Out: True
# %%
preds,targs,losses = learn.get_preds(with_loss=True)
loss = F.binary_cross_entropy(preds, targs)
abs(losses.mean() - loss) < 1e-5, losses.shape[0] == len(preds)
# Out: ^\(tensor\(True\), True\)$
# %%
preds,targs,decoded = learn.get_preds(ds_idx=0, with_decoded=True)
torch.equal(decoded, (preds > 0.5).float()), len(preds) == dls.train.n
# Out: ^\(True, True\)$
# %%
learn.show_results(ds_idx=1, nrows=3, figsize=(6,8))
# shows: image/png
# %%
learn.recorder.plot_loss()
# shows: image/png
# %%
before = [p.clone() for p in learn.model.state_dict().values()]
state, here = torch.get_rng_state(), sorted(Path().absolute().iterdir())
found = learn.lr_find()
assert all(torch.equal(a, b) for a, b in zip(before, learn.model.state_dict().values()))
assert torch.equal(state, torch.get_rng_state()) and here == sorted(Path().absolute().iterdir())
found
# Out: ^SuggestedLRs\(valley=\d\S+\)$
# shows: image/png
# %%
interp = ClassificationInterpretation.from_learner(learn)
interp.plot_confusion_matrix(figsize=(12,12), dpi=60)
# shows: image/png
# %%
interp.most_confused(min_val=1)
# Out: ^\[.*\]$|^\[\('[a-z]+', '[a-z]+', \d+\)
# %%
interp.plot_top_losses(9)
# shows: image/png
# %%
interp.confusion_matrix().shape
# Out: ^torch.Size\(\[8, 2, 2\]\)$
# %%
img = get_image_files(path/'test')[0]
labels, decoded, probs = learn.predict(img)
assert labels == dls.vocab[decoded == 1.]
len(labels), decoded, probs
# Out: ^\(\d,\s+tensor\(\[[01]\.(, [01]\.){7}\]\),\s+tensor\(\[0\.\d+
# %%
learn.predict(img)
# Out: ^Prediction\(label=\[
# %%
learn.predict(np.array(PILImage.create(img)))[2].shape, torch.allclose(learn.predict(str(img))[2], probs)
# Out: ^\(torch.Size\(\[8\]\), True\)$
# %%
df_test = pd.read_csv(path/'test.csv')
get_x = lambda r: path/('test' if r['fname'] >= '000240.jpg' else 'train')/r['fname']
dls = DataBlock(blocks=(ImageBlock, MultiCategoryBlock), splitter=splitter, get_x=get_x, get_y=get_y,
                item_tfms=Resize(32)).dataloaders(df, bs=32)
learn.dls = dls
preds,_ = learn.get_preds(dl=dls.test_dl(df_test))
list(df_test.columns), preds.shape == (len(df_test), 8)
# Out: ^\(\['fname'\], True\)$
# %%
_,targs = learn.get_preds(dl=dls.test_dl(df[:6], with_labels=True))
targs.sum(dim=1) == tensor([len(o.split()) for o in df['labels'][:6]])
# Out: ^tensor\(\[True, True, True, True, True, True\]\)$
# %%
dls.test_dl(df_test[:3], with_labels=False).one_batch()[0].shape
# Out: ^torch.Size\(\[3, 3, 32, 32\]\)$
# %%
learn.export('model.safetensors')
Path('model.safetensors').exists(), [o.suffix for o in Path().iterdir() if o.is_file()]
# Out: ^\(True, \['.safetensors'\]\)$
# %%
learn_inf = load_learner('model.safetensors')
type(learn_inf).__name__, learn_inf.predict(img)[0] == learn.predict(img)[0], learn_inf.vocab
# Out: ^\('Predictor',\s+True,\s+\(#8\) \['[a-z]+',
# %%
learn_inf.fine_tune(1)
# raises: InputError: A predictor does not train. .*vision_learner\(dls, 'model.safetensors'\)
# %%
torch.save({'a': 1}, 'export.pkl')
load_learner('export.pkl')
# raises: ModelFileError: .*export.pkl.*(pickle|safetensors)
# %%
def get_y_more(r): return r['labels'].split(' ') + (['any'] if r['fname'] > '000100.jpg' else [])
dls_more = DataBlock(blocks=(ImageBlock, MultiCategoryBlock), splitter=splitter, get_x=get_x, get_y=get_y_more,
                     item_tfms=Resize(32)).dataloaders(df, bs=32)
learn2 = vision_learner(dls_more, 'model.safetensors')
old, new = learn.model[1][-1].weight, learn2.model[1][-1].weight
len(old), len(new), torch.equal(new[[i for i, o in enumerate(dls_more.vocab) if o != 'any']], old)
# Out: ^\(8, 9, True\)$
# %%
learn2.fine_tune(1)
# %%
preds,targs = learn.tta()
preds.shape == targs.shape == (dls.valid.n, 8)
# Out: True
# %%
names, vectors = learn.embed(df[:5])
type(vectors).__name__, vectors.shape[0], names[0].endswith('000000.jpg')
# Out: ^\('ndarray', 5, True\)$
# %%
learn.embed(get_image_files(path/'test')[:4]).vectors.shape[0]
# Out: ^4$
# %%
learn = vision_learner(dls, 'test_resnet', loss_func=nn.BCEWithLogitsLoss(), pretrained=False)
learn.fit_one_cycle(1, 3e-3)
preds,targs = learn.get_preds()
preds.min() >= 0, preds.max() <= 1, type(learn.predict(img)[0]).__name__
# Out: ^\(tensor\(True\), tensor\(True\), 'list'\)$
# %%
learn = cnn_learner(dls, 'test_resnet', metrics=partial(accuracy_multi, thresh=0.2), pretrained=False)
# warns: `cnn_learner` has been renamed to `vision_learner` -- please update your code
# %%
dls = DataBlock(blocks=(ImageBlock(), MultiCategoryBlock(vocab=['sun', 'boat', 'kite', 'tree', 'flower', 'house', 'mushroom', 'balloon'])),
                splitter=splitter, get_x=get_x, get_y=get_y, item_tfms=Resize(32)).dataloaders(df, bs=32)
dls.vocab
# Out: ^\(#8\) \['sun','boat','kite','tree','flower','house','mushroom','balloon'\]$
# %%
df2 = df.copy()
only = df2.index[df2['is_valid']][:2]
df2.loc[only, 'labels'] = 'rainbow'
dls = DataBlock(blocks=(ImageBlock, MultiCategoryBlock), splitter=splitter, get_x=get_x, get_y=get_y,
                item_tfms=Resize(32)).dataloaders(df2, bs=32)
'rainbow' in dls.vocab, dls.valid.dataset[0][1].sum()
# warns: rainbow.*2
# Out: ^\(False, tensor\(0.\)\)$
# %%
dls = DataBlock(blocks=(ImageBlock, MultiCategoryBlock), splitter=RandomSplitter(seed=1), get_x=get_x, get_y=get_y,
                item_tfms=Resize(32)).dataloaders(df[:25])
dls.bs, len(dls.train)
# warns: 20 items to train on, fewer than a batch of 64
# Out: ^\(20, 1\)$
# %%
ImageDataLoaders.from_df(df, path, folder='train', label_delim=' ', valid_col='is_valid', item_tfms=Resize(32), bs=16).vocab
# Out: ^\(#8\) \[
# %%
loader = dblock.dataloaders(df, bs=16, seed=3, num_workers=0)
a, b = loader.valid.one_batch()[0], dblock.dataloaders(df, bs=16).valid.one_batch()[0]
torch.equal(a, b)
# Out: True
