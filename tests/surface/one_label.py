# One label per image: chapter 5.
# %%
from foveal.vision.all import *
path = untar_data(URLs.SAMPLE_PETS)
# %%
Path.BASE_PATH = path
path.ls()
# Out: ^\(#1\) \[Path\('images'\)\]$
# %%
(path/"images").ls()
# Out: ^\(#240\) \[Path\('images/Boat_1.jpg'\),Path\('images/Boat_10.jpg'\),.*\.\.\.\]$
# %%
fname = (path/"images").ls()[0]
re.findall(r'(.+)_\d+.jpg$', fname.name)
# Out: ^\['Boat'\]$
# %%
pets = DataBlock(blocks = (ImageBlock, CategoryBlock),
                 get_items=get_image_files, 
                 splitter=RandomSplitter(seed=42),
                 get_y=using_attr(RegexLabeller(r'(.+)_\d+.jpg$'), 'name'),
                 item_tfms=Resize(460),
                 batch_tfms=aug_transforms(size=224, min_scale=0.75))
dls = pets.dataloaders(path/"images", bs=8)
# %%
dls.show_batch(nrows=1, ncols=3)
# shows: image/png
# %%
dls.one_batch()[0].shape
# Out: ^torch.Size\(\[8, 3, 224, 224\]\)$
# %%
pets1 = DataBlock(blocks = (ImageBlock, CategoryBlock),
                 get_items=get_image_files, 
                 splitter=RandomSplitter(seed=42),
                 get_y=using_attr(RegexLabeller(r'(.+)_\d+.jpg$'), 'name'))
pets1.summary(path/"images")
# prints: 192 items to train on, 48 to validate\n(.*\n)*.*image   images/\w+_\d+.jpg\n(.*\n)*.*TensorCategory\(\d\)
# raises: InputError: Images need one size .*Resize\(224\)
# %%
mixed = Path('mixed'); mixed.mkdir()
for i, o in enumerate(get_image_files(path)[:20]):
    PILImage.create(o).resize((64, 64 + 8 * (i % 2))).save(mixed/f'a_{i}.jpg')
pets1.summary(mixed)
# prints: image
# raises: InputError: .*mixed/a_\d+.jpg.* is 64 x (64|72), .*mixed/a_\d+.jpg.* is 64 x (72|64)\. Add one: item_tfms=Resize\(224\)
# %%
DataBlock(blocks=(ImageBlock, CategoryBlock), get_items=get_image_files, get_y=using_attr(RegexLabeller(r'(.+)_\d+.png$'), 'name')).datasets(path)
# raises: InputError: .*does not match .\w+_\d+.jpg
# %%
pets1.dataloaders(mixed, bs=4)
# raises: InputError: .* is 64 x (64|72), .* is 64 x (72|64)\. Add one: item_tfms=Resize\(224\)
# %%
pets.summary(path/"images")
# prints: resize +Resize\(.*\n(.*\n)*.*sample +pixels \[224, 224, 3\]
# %%
pets = DataBlock(blocks = (ImageBlock, CategoryBlock),
                 get_items=lambda p: get_image_files(p)[::2], 
                 splitter=RandomSplitter(seed=42),
                 get_y=using_attr(RegexLabeller(r'(.+)_\d+.jpg$'), 'name'),
                 item_tfms=Resize(48),
                 batch_tfms=aug_transforms(size=32, min_scale=0.75))
dls = pets.dataloaders(path/"images", bs=8)
learn = vision_learner(dls, 'test_resnet', metrics=error_rate, pretrained=False)
learn.fine_tune(2)
# %%
x,y = dls.one_batch()
y
# Out: ^tensor\(\[\d(, \d){7}\]\)$
# %%
dls.vocab
# Out: ^\(#8\) \['Boat','House','Mushroom','Tree','balloon','flower','kite','sun'\]$
# %%
dls.train.dataset[0]
# Out: ^\(PILImage mode=RGB size=\d+x\d+, TensorCategory\(\d\)\)$
# %%
dls.loss_func
# Out: ^FlattenedLoss of CrossEntropyLoss\(\)$
# %%
preds,_ = learn.get_preds(dl=[(x,y)])
preds[0]
# Out: ^tensor\(\[
# %%
preds,targs = learn.get_preds(dl=dls.test_dl(get_image_files(path)[:3]))
len(preds),len(preds[0]),preds[0].sum()
# Out: ^\(3, 8, tensor\(1\.0*\d*\)\)$
# %%
preds,targs = learn.get_preds()
targs.dtype, accuracy(preds, targs) + error_rate(preds, targs)
# Out: ^\(torch.int64, tensor\(1\..*\)\)$
# %%
learn.validate()[1] == error_rate(preds, targs)
# Out: True
# %%
interp = ClassificationInterpretation.from_learner(learn)
interp.plot_confusion_matrix(figsize=(12,12), dpi=60)
# shows: image/png
# %%
interp.most_confused(min_val=1)
# Out: ^\[\('\w+', '\w+', \d+\)
# %%
[type(o) for o in interp.most_confused(min_val=1)[0]]
# Out: ^\[<class 'str'>, <class 'str'>, <class 'int'>\]$|^\[str, str, int\]$
# %%
interp.most_confused(min_val=5)
# Out: ^\[.*
# %%
interp.plot_top_losses(9)
# shows: image/png
# %%
learn.show_results()
# shows: image/png
# %%
learn = vision_learner(dls, 'test_resnet', metrics=error_rate, pretrained=False)
learn.fine_tune(1, base_lr=0.1)
# %%
[o.epoch for o in learn.recorder.history]
# Out: ^\[0, 0\]$
# %%
learn = vision_learner(dls, 'test_resnet', metrics=error_rate, pretrained=False)
lr_min,lr_steep = learn.lr_find(suggest_funcs=(minimum, steep))
# shows: image/png
# %%
print(f"Minimum/10: {lr_min:.2e}, steepest point: {lr_steep:.2e}")
# prints: ^Minimum/10: \d.\d\de[-+]\d\d, steepest point: \d.\d\de[-+]\d\d$
# %%
learn.lr_find(suggest_funcs=(minimum, steep, valley, slide))
# Out: ^SuggestedLRs\(minimum=\S+, steep=\S+, valley=\S+, slide=\S+\)$
# shows: image/png
# %%
learn.lr_find()
# Out: ^SuggestedLRs\(valley=\d\S+\)$
# shows: image/png
# %%
learn.fine_tune(2, base_lr=3e-3)
# %%
learn.fit_one_cycle(3, 3e-3)
# %%
learn.unfreeze()
# %%
learn.fit_one_cycle(2, lr_max=1e-5)
# %%
learn.fit_one_cycle(6, lr_max=slice(1e-6,1e-4))
# %%
learn.recorder.plot_loss()
# shows: image/png
# %%
learn.freeze()
[p.requires_grad for p in learn.model[0].parameters()].count(True), all(p.requires_grad for p in learn.model[1].parameters())
# Out: ^\(0, True\)$
# %%
learn.freeze_to(-2)
0 < sum(p.requires_grad for p in learn.model[0].parameters()) < len(list(learn.model[0].parameters()))
# Out: True
# %%
learn.unfreeze()
all(p.requires_grad for p in learn.model.parameters())
# Out: True
# %%
learn.fit(1)
# %%
few = ImageDataLoaders.from_name_re(path, get_image_files(path)[::6], r'(.+)_\d+.jpg$', item_tfms=Resize(32), bs=8)
learn = vision_learner(few, resnet34, metrics=error_rate, pretrained=False).to_fp16()
learn.fine_tune(1, freeze_epochs=1)
# %%
learn = vision_learner(dls, 'test_resnet', metrics=error_rate, pretrained=False).to_fp16()
learn.fine_tune(6, freeze_epochs=3)
# %%
learn.to_fp32() is learn, learn.to_bf16() is learn
# Out: ^\(True, True\)$
# %%
learn.to_fp32().fine_tune(1, base_lr=1e-3, freeze_epochs=1, lr_mult=50, pct_start=0.4, div=4.0, lr_max=slice(1e-5, 1e-3), div_final=1e4, wd=0.1, moms=(0.95, 0.85, 0.95), cbs=None, reset_opt=True)
# %%
label, index, probs = learn.predict(fname)
label == dls.vocab[index], index == probs.argmax(), label
# Out: ^\(True, tensor\(True\), '\w+'\)$
# %%
label, index, probs = learn.predict(PILImage.create(fname).to_thumb(100))
probs.shape
# Out: ^torch.Size\(\[8\]\)$
# %%
learn.model
# Out: ^VisionModel\(

# Backbones and weights
# %%
[resnet18, resnet34, resnet50, resnet101, resnet152]
# Out: ^\['resnet18', 'resnet34', 'resnet50', 'resnet101', 'resnet152'\]$
# %%
learn = vision_learner(dls, 'tf_efficientnet_lite0', metrics=error_rate)
sum(p.requires_grad for p in learn.model[0].parameters()), all(p.requires_grad for p in learn.model[1].parameters())
# Out: ^\(0, True\)$
# %%
import os
os.environ['TORCH_HOME'] = os.environ['HF_HOME'] = str(Path('nothing').absolute())
os.environ['http_proxy'] = os.environ['https_proxy'] = 'http://127.0.0.1:9'
vision_learner(dls, resnet18, metrics=error_rate)
# raises: ModelFileError: .*resnet18-f37072fd.pth.*pretrained=False
# %%
import timm
body = timm.create_model('test_resnet')
torch.save(body.state_dict(), 'body.pth')
learn = vision_learner(dls, 'test_resnet', weights='body.pth')
torch.equal(first(body.parameters()), first(learn.model[0].parameters()).cpu())
# Out: True
# %%
vision_learner(dls, 'resnet81')
# raises: UnknownNameError: .*resnet81.*Did you mean

# A learner of one's own parts
# %%
model = nn.Sequential(nn.Flatten(), nn.Linear(3*32*32, 8))
learn = Learner(dls, model, loss_func=CrossEntropyLossFlat(), metrics=accuracy)
learn.fit_one_cycle(1, 3e-3)
# %%
plain = DataLoaders.from_dsets(Datasets(list(range(8)), [[float]], splits=([0, 1, 2, 3], [4, 5, 6, 7])), bs=2)
Learner(plain, nn.Linear(1, 1))
# raises: InputError: .*no loss

# The book's short ways
# %%
files = get_image_files(path/'images')[::4]
opts = dict(valid_pct=0.25, seed=3, item_tfms=Resize(32), bs=8)
def label_func(f): return f.split('_')[0]
ImageDataLoaders.from_name_func(path, files, label_func, **opts).vocab
# Out: ^\(#8\) \['Boat'
# %%
dls = ImageDataLoaders.from_name_func(path, files, lambda x: x[0].isupper(), **opts)
dls.vocab
# Out: ^\(#2\) \['?False'?,'?True'?\]$
# %%
ImageDataLoaders.from_name_re(path, files, r'(.+)_\d+.jpg$', **opts).vocab
# Out: ^\(#8\) \['Boat'
# %%
ImageDataLoaders.from_path_func(path, files, parent_label, **opts).vocab
# Out: ^\(#1\) \['images'\]$
# %%
ImageDataLoaders.from_lists(path, files, [label_func(f.name) for f in files], **opts).valid.n
# Out: ^15$
# %%
df = pd.DataFrame({'name': [f'images/{f.name}' for f in files], 'label': [label_func(f.name) for f in files]})
ImageDataLoaders.from_df(df, path, **opts).vocab
# Out: ^\(#8\) \['Boat'
# %%
df.to_csv('labels.csv', index=False)
for f in files:
    for place in (Path('images')/f.name, Path('train' if int(f.stem.split('_')[1]) % 3 else 'valid')/label_func(f.name)/f.name):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(f.read_bytes())
ImageDataLoaders.from_csv('.', **opts).vocab
# Out: ^\(#8\) \['Boat'
# %%
dls = ImageDataLoaders.from_folder('.', item_tfms=Resize(32), batch_tfms=aug_transforms(), bs=8)
dls.vocab, dls.train.n + dls.valid.n
# Out: ^\(\(#8\) \['Boat'.*\], 60\)$
# %%
DataBlock((ImageBlock, CategoryBlock), get_items=get_image_files, splitter=GrandparentSplitter(), get_y=parent_label,
          item_tfms=Resize(32)).dataloaders('.', bs=8).valid.n == dls.valid.n
# Out: True
# %%
DataBlock((ImageBlock, CategoryBlock(vocab=list(reversed(dls.vocab)))), get_items=get_image_files, splitter=GrandparentSplitter(),
          get_y=parent_label, item_tfms=Resize(32)).dataloaders('.', bs=8).vocab == list(reversed(dls.vocab))
# Out: True
