# A point to find: chapter 6, its second half; and numbers.
# %%
from foveal.vision.all import *
# %%
path = untar_data(URLs.SAMPLE_BIWI)
Path.BASE_PATH = path
path.ls().sorted()
# Out: ^\(#4\) \[Path\('01'\),Path\('05'\),Path\('13'\),Path\('20'\)\]$
# %%
(path/'01').ls().sorted()
# Out: ^\(#91\) \[Path\('01/frame_00003_pose.txt'\),Path\('01/frame_00003_rgb.jpg'\),.*\.\.\.\]$
# %%
img_files = get_image_files(path)
def img2pose(x): return Path(f'{str(x)[:-7]}pose.txt')
img2pose(img_files[0])
# Out: ^Path\('01/frame_00003_pose.txt'\)$
# %%
im = PILImage.create(img_files[0])
im.shape
# Out: ^\(240, 320\)$
# %%
im
# Out: ^PILImage mode=RGB size=320x240$
# shows: image/png
# %%
im.to_thumb(160)
# Out: ^PILImage mode=RGB size=160x120$
# shows: image/png
# %%
cal = np.genfromtxt(path/'01'/'rgb.cal', skip_footer=6)
def get_ctr(f):
    ctr = np.genfromtxt(img2pose(f), skip_header=3)
    c1 = ctr[0] * cal[0][0]/ctr[2] + cal[0][2]
    c2 = ctr[1] * cal[1][1]/ctr[2] + cal[1][2]
    return tensor([c1,c2])
get_ctr(img_files[0])
# Out: ^tensor\(\[\d+\.\d+, +\d+\.\d+\]\)$
# %%
biwi = DataBlock(
    blocks=(ImageBlock, PointBlock),
    get_items=get_image_files,
    get_y=get_ctr,
    splitter=FuncSplitter(lambda o: o.parent.name=='13'),
    batch_tfms=[*aug_transforms(size=(240,320)), 
                Normalize.from_stats(*imagenet_stats)]
)
dsets = biwi.datasets(path)
x,y = dsets.train[0]
x, y, y.shape, (y - get_ctr(img_files[0])).abs().max() < 1e-3
# Out: ^\(PILImage mode=RGB size=320x240,\s+TensorPoint\(\[\[ *\d+\.\d+, +\d+\.\d+\]\]\),\s+torch.Size\(\[1, 2\]\),\s+tensor\(True\)\)$
# %%
dls = biwi.dataloaders(path)
dls.show_batch(max_n=9, figsize=(8,6))
# shows: image/png
# %%
xb,yb = dls.one_batch()
xb.shape,yb.shape
# Out: ^\(torch.Size\(\[64, 3, 240, 320\]\), torch.Size\(\[64, 1, 2\]\)\)$
# %%
yb[0]
# Out: ^tensor\(\[\[ *-?\d\.\d+, +-?\d\.\d+\]\]\)$
# %%
bool((dls.valid.one_batch()[1].abs() <= 1).all()), dls.valid.n
# Out: ^\(True, 45\)$
# %%
far = DataBlock(blocks=(ImageBlock, PointBlock), get_items=get_image_files, get_y=lambda f: tensor([400., 100.]),
                splitter=RandomSplitter(seed=0), item_tfms=Resize((48, 64)))
far.dataloaders(path, bs=8).show_batch(nrows=1, ncols=3)
{line.get_marker() for ax in plt.gcf().axes[:3] for line in ax.lines}
# Out: ^\{'\^'\}$
# shows: image/png
# %%
def sigmoid_range(x, lo, hi): return torch.sigmoid(x) * (hi-lo) + lo
plot_function(partial(sigmoid_range,lo=-1,hi=1), min=-4, max=4)
# shows: image/png
# %%
learn = vision_learner(dls, resnet18, y_range=(-1,1), pretrained=False)
dls.loss_func
# Out: ^FlattenedLoss of MSELoss\(\)$
# %%
small = DataBlock(blocks=(ImageBlock, PointBlock), get_items=get_image_files, get_y=get_ctr,
                  splitter=FuncSplitter(lambda o: o.parent.name=='13'), batch_tfms=aug_transforms(size=(48,64)))
dls = small.dataloaders(path, bs=8)
learn = vision_learner(dls, 'test_resnet', y_range=(-1,1), pretrained=False)
x,y = dls.one_batch()
acts = learn.model(x)
assert acts.abs().max() <= 1
F.mse_loss(acts.view_as(y), y), dls.loss_func(acts, y), (acts - y.squeeze(1)).abs().mean(), MSELossFlat()(acts, y)
# Out: ^\(tensor\(\S+ grad_fn=.*\),\s+tensor\(\S+ grad_fn=.*\),\s+tensor\(\S+ grad_fn=.*\),\s+tensor\(\S+ grad_fn=.*\)\)$
# %%
dls.loss_func(acts, y.view_as(acts)) == dls.loss_func(acts, y)
# Out: ^tensor\(True\)
# %%
learn.lr_find()
# Out: ^SuggestedLRs\(valley=\d\S+\)$
# shows: image/png
# %%
lr = 1e-2
learn.fine_tune(3, lr)
# %%
math.sqrt(0.0001)
# Out: ^0\.01$
# %%
learn.show_results(ds_idx=1, nrows=3, figsize=(6,8))
# shows: image/png
# %%
learn.validate()
# Out: ^\(#\d\) \[\d\.\d+
# %%
preds,targs = learn.get_preds()
preds.shape, targs.shape, preds.abs().max() <= 1
# Out: ^\(torch.Size\(\[45, (1, )?2\]\), torch.Size\(\[45, 1, 2\]\), tensor\(True\)\)$
# %%
preds,targs = learn.tta(n=2)
preds.abs().max() <= 1
# Out: ^tensor\(True\)$
# %%
point, decoded, values = learn.predict(img_files[0])
assert 0 <= point[0][0] <= 320 and 0 <= point[0][1] <= 240 and values.abs().max() <= 1
pixels = np.array(im)
big = pixels.repeat(2, axis=0).repeat(2, axis=1)
np.allclose(learn.predict(big)[0], 2 * learn.predict(pixels)[0], atol=0.5), np.allclose(decoded.view(-1), point.reshape(-1))
# Out: ^\(True, True\)$
# %%
learn.predict(PILImage.create(img_files[0]))[0].shape
# Out: ^\(1, 2\)$
# %%
interp = Interpretation.from_learner(learn)
interp.print_classification_report()
# prints: mean error pixels +\d
# %%
interp.plot_top_losses(9)
# shows: image/png
# %%
ClassificationInterpretation.from_learner(learn).plot_confusion_matrix()
# raises: InputError: 
# %%
learn.save('one')
before = learn.model.state_dict()['1.2.weight'].clone() if '1.2.weight' in learn.model.state_dict() else next(learn.model.parameters()).clone()
learn.fit(1, 1e-2)
learn.load('one')
sorted(str(o) for o in Path('models').iterdir())
# Out: ^\['models/one.safetensors'\]$
# %%
torch.equal(before, learn.model.state_dict()['1.2.weight'] if '1.2.weight' in learn.model.state_dict() else next(learn.model.parameters()))
# Out: True
# %%
file = learn.export('point.safetensors')
np.allclose(load_learner(file).predict(img_files[3])[0], learn.predict(img_files[3])[0])
# Out: True

# Sizes are height, then width; the place in a list does not matter; one normalisation
# %%
block = partial(DataBlock, (ImageBlock, PointBlock), get_items=get_image_files, get_y=get_ctr, splitter=FuncSplitter(lambda o: o.parent.name=='13'))
[block(**o).dataloaders(path, bs=4).one_batch()[0].shape[2:] for o in (
    dict(item_tfms=Resize(46)), dict(item_tfms=Resize((24, 32))), dict(item_tfms=RandomResizedCrop(28, min_scale=0.35)),
    dict(item_tfms=Resize(46), batch_tfms=aug_transforms(size=(24, 32))), dict(item_tfms=Resize(46), batch_tfms=aug_transforms(size=22, min_scale=0.75)),
    dict(batch_tfms=[Normalize.from_stats(*imagenet_stats), *aug_transforms(size=(24, 32))]))]
# Out: \[46, 46\]\),\s+torch.Size\(\[24, 32\]\),\s+torch.Size\(\[28, 28\]\),\s+torch.Size\(\[24, 32\]\),\s+torch.Size\(\[22, 22\]\),\s+torch.Size\(\[24, 32\]\)
# %%
norm = Normalize.from_stats(*imagenet_stats)
one, other = (block(item_tfms=Resize((24, 32)), batch_tfms=o).dataloaders(path, bs=4).valid.one_batch()[0]
              for o in ([*aug_transforms(), norm], [norm, *aug_transforms()]))
plain = block(item_tfms=Resize((24, 32))).dataloaders(path, bs=4)
torch.equal(one, other), one.min() < -1
# Out: ^\(True, tensor\(True\)\)$
# %%
xb,yb = plain.valid.one_batch()
xb.min() >= 0, xb.max() <= 1
# Out: ^\(tensor\(True\), tensor\(True\)\)$
# %%
learn = vision_learner(plain, resnet18, pretrained=False)
learn2 = vision_learner(block(item_tfms=Resize((24, 32)), batch_tfms=[*aug_transforms(), norm]).dataloaders(path, bs=4), resnet18, pretrained=False)
torch.allclose(norm(learn.dls.valid.one_batch()[0]), one, atol=1e-5), torch.equal(learn2.dls.valid.one_batch()[0], one)
# Out: ^\(True, True\)$

# Numbers
# %%
numbers = DataBlock(blocks=(ImageBlock, RegressionBlock(n_out=1)), get_items=get_image_files, get_y=lambda f: float(get_ctr(f)[0]),
                    splitter=RandomSplitter(seed=1), item_tfms=Resize(32))
dls = numbers.dataloaders(path, bs=16)
dls.train.dataset[0], dls.one_batch()[1].shape, dls.loss_func
# Out: ^\(\(PILImage mode=RGB size=320x240, TensorRegression\(\[\d+\.\d+\]\)\),\s+torch.Size\(\[16, 1\]\),\s+FlattenedLoss of MSELoss\(\)\)$
# %%
learn = vision_learner(dls, 'test_resnet', pretrained=False)
# prints: \d
# %%
low, high = dls.train.dataset.targets.min(), dls.train.dataset.targets.max()
ends = low - (high - low) / 20, high + (high - low) / 20
[round(float(o), 2) for o in ends] == [round(float(o), 2) for o in (dls.task.low[0], dls.task.high[0])]
# Out: True
# %%
learn.fit_one_cycle(1, 3e-3)
preds, targs = learn.get_preds()
bool((preds > ends[0]).all() and (preds < ends[1]).all())
# Out: True
# %%
learn = vision_learner(dls, 'test_resnet', y_range=(0, 320), pretrained=False)
learn.predict(img_files[0])[2].shape
# Out: ^torch.Size\(\[1\]\)$
# %%
dls = DataBlock(blocks=(ImageBlock, RegressionBlock(n_out=2)), get_items=get_image_files, get_y=get_ctr,
                splitter=RandomSplitter(seed=1), item_tfms=Resize(32)).dataloaders(path, bs=16)
dls.one_batch()[1].shape
# Out: ^torch.Size\(\[16, 2\]\)$
# %%
DataBlock((ImageBlock, RegressionBlock), get_items=get_image_files, get_y=get_ctr, item_tfms=Resize(32)).dataloaders(path, bs=8).one_batch()[1].shape
# Out: ^torch.Size\(\[8, 2\]\)$
# %%
two = pd.DataFrame({'name': [str(o.relative_to(path)) for o in img_files], 'x': [float(get_ctr(o)[0]) for o in img_files], 'y': [float(get_ctr(o)[1]) for o in img_files]})
ImageDataLoaders.from_df(two, path, label_col=['x', 'y'], y_block=PointBlock, item_tfms=Resize(32), bs=8).one_batch()[1].shape
# Out: ^torch.Size\(\[8, 1, 2\]\)$
