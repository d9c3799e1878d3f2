# Forms of strangers' notebooks on images; each compares values.
# %%
from foveal.vision.all import *
path = untar_data(URLs.SAMPLE_PETS)
files = get_image_files(path)[::6]
set_seed(3)
# %%
Image.open(files[0]).to_thumb(64, 64).size[0] <= 64, Image.open(files[0]).shape == PILImage.create(files[0]).shape
# Out: \(True,\s+True\)
# %%
im = PILImage.create(files[0])
im.show(title="a cat", figsize=(2, 2));
# shows: image/png
# %%
show_image(TensorImage(image2tensor(im)), title="tensor");
# shows: image/png
# %%
_, axs = subplots(1, 2)
for ax in axs: im.show(ctx=ax)
# shows: image/png
# %%
len(verify_images(files)), path.ls(file_exts='.csv') == L([f for f in path.ls() if f.suffix == '.csv'])
# Out: \(0,\s+True\)
# %%
pets = DataBlock(blocks=(ImageBlock, CategoryBlock), get_items=lambda p: files,
                 get_y=using_attr(RegexLabeller(pat=r'(.+)_\d+.jpg$'), 'name'), splitter=RandomSplitter(seed=42),
                 item_tfms=Resize(32, ResizeMethod.Pad, pad_mode=PadMode.Zeros))
dls = pets.dataloaders(path, bs=8)
dls.c == len(dls.vocab), len(dls.train_ds) + len(dls.valid_ds) == len(files), dls.valid_ds.items[0] in files
# Out: \(True,\s+True,\s+True\)
# %%
x, y = dls.one_batch()
black = (x == 0).all(dim=1)
[bool(black[:, 0].all() or black[:, :, 0].all()) for black in black[:, None].unbind()] != [], float(x.min())
# Out: \(True, 0.0\)
# %%
dls.train.show_batch(max_n=4, nrows=1, unique=True)
# shows: image/png
# %%
wide = pets.new(item_tfms=Resize(24, ResizeMethod.Squish), batch_tfms=aug_transforms(pad_mode='border'))
dls = wide.dataloaders(path, bs=8)
dls.one_batch()[0].shape, dls.new(bs=4).one_batch()[0].shape
# Out: \(torch.Size\(\[8, 3, 24, 24\]\),\s+torch.Size\(\[4, 3, 24, 24\]\)\)
# %%
x, y = dls.valid.one_batch()
image, label = dls.valid.decode_batch((x, y))[0]
torch.allclose(image, dls.decode((x, y))[0][0]), label == dls.vocab[y[0]], dls.vocab.o2i[label] == int(y[0])
# Out: \(True,\s+True,\s+True\)
# %%
learn = vision_learner(dls, 'test_resnet', pretrained=False, metrics=[accuracy, F1Score(average='macro')],
                       opt_func=partial(OptimWrapper, opt=torch.optim.AdamW), cbs=CSVLogger, path=tempfile_path, lr=1e-3)
# raises: NameError: name 'tempfile_path' is not defined
# %%
import tempfile
folder = Path(tempfile.mkdtemp())
learn = vision_learner(dls, 'test_resnet', pretrained=False, metrics=[accuracy, F1Score(average='macro')],
                       opt_func=partial(OptimWrapper, opt=torch.optim.AdamW), cbs=CSVLogger, path=folder, lr=1e-3)
with learn.no_logging(): learn.fit_one_cycle(2)
pd.read_csv(folder/'history.csv')['accuracy'].tolist() == [row[2] for row in learn.recorder.values]
# Out: True
# %%
learn.recorder.metric_names
# Out: \['epoch','train_loss','valid_loss','accuracy','f1_score','time'\]
# %%
learn.final_record == learn.recorder.values[-1], len(learn.recorder.losses) == 2 * len(dls.train), max(learn.recorder.lrs) < 1.001e-3
# Out: \(True,\s+True,\s+True\)
# %%
learn.show_training_loop()
# prints: before_fit\n  before_epoch\n    before_step
# prints: after_epoch: .*CSVLogger
# %%
learn.fit_one_cycle(1, max_lr=1e-3)
# raises: UnknownNameError: `fit_one_cycle` has no argument `max_lr`. It is `lr_max` here
# %%
vision_learner(dls, 'test_resnet', bs=3)
# raises: InputError: `vision_learner` has no argument `bs`. The loaders have the batch size
# %%
learn.export()
# Out: export.pkl'\)
# prints: is in the format safetensors
# %%
folder.ls(file_exts='.pkl'), (folder/'export.pkl').read_bytes()[8:9]
# Out: export.pkl.*b'\{'
# %%
learn_inf = load_learner(folder/'export.pkl', cpu=True)
learn_inf.dls.vocab == dls.vocab, learn_inf.predict(files[0])[0] == learn.predict(files[0])[0]
# Out: \(True,\s+True\)
# %%
tests = [learn.get_preds(dl=learn.dls.test_dl(files[:5]))[0], learn_inf.get_preds(dl=learn_inf.dls.test_dl(files[:5]))[0],
         torch.stack([learn.predict(f)[2] for f in files[:5]]), learn.tta(dl=dls.test_dl(files[:5]), n=1, beta=1.0)[0]]
[float((one - tests[0]).abs().max()) < 1e-5 for one in tests]
# Out: \[True, True, True, True\]
# %%
x, = first(learn.dls.test_dl(files[:2]))
learn.model.eval()
with torch.no_grad(): out = learn.model(x).softmax(dim=1)
float((out - tests[0][:2]).abs().max()) < 1e-5
# Out: True
# %%
preds, targs, losses = learn.get_preds(with_loss=True)
interp = ClassificationInterpretation.from_learner(learn, dl=dls.valid)
float((interp.top_losses(3)[0] - losses.sort(descending=True)[0][:3]).abs().max()) < 1e-3
# Out: True
# %%
interp.plot_top_losses(4, nrows=2, figsize=(4, 5))
# shows: image/png
# %%
class Seen(Callback):
    order = 3
    def before_fit(self): self.seen = []
    def after_loss(self):
        if self.training: self.seen.append(float((self.loss - self.learn.loss_func(self.pred, self.yb[0])).detach()))
    def after_batch(self):
        if self.training and self.iter == 1: raise CancelFitException
seen = Seen()
with learn.no_bar(): learn.fit(3, cbs=[seen, GradientAccumulation(16)])
seen.seen, len(learn.recorder.values)
# Out: \(\[0.0, 0.0\], 2\)
# %%
class Mine:
    def after_epoch(self): print(self.learn.epoch)
learn.fit(1, cbs=Mine())
# raises: InputError: `after_epoch` of Mine takes no argument.*Callback
# %%
learn = vision_learner(dls, 'test_resnet', pretrained=False, metrics='accuracy')
learn.fit(1)
# raises: InputError: .*metrics=accuracy
# %%
learn = vision_learner(dls, 'test_resnet', pretrained=False, metrics=[partial(top_k_accuracy, k=2), partial(top_k_accuracy, k=3)])
list(learn.recorder.metric_names)[3:5]
# Out: \['top_k_accuracy\(k=2\)', 'top_k_accuracy\(k=3\)'\]
# %%
learn.fine_tune(3, freeze_epochs=3, cbs=EarlyStoppingCallback(monitor='train_loss', comp=np.greater, patience=1))
# prints: This part of the run ended early
# %%
with learn.no_bar(): learn.fit(2, 1e-2, cbs=SaveModelCallback(monitor='valid_loss', fname='best'))
(learn.path/'models'/'best.safetensors').exists()
# Out: True
# %%
(learn.path/'models'/'best.safetensors').unlink()
learn.freeze_to(-1)
len(params(learn.model)) > len([p for p in learn.model.parameters() if p.requires_grad])
# Out: True
# %% transforms of items, from one's own class
class Inverted(Transform):
    "Turn a photograph into its negative."
    split_idx = 0
    def encodes(self, im: PILImage): return 255 - np.array(im)
label = using_attr(RegexLabeller(r'(.+)_\d+.jpg$'), 'name')
plain, turned = (DataBlock((ImageBlock, CategoryBlock), get_y=[label], splitter=RandomSplitter(seed=1),
                           item_tfms=[*extra, Resize(24, 'squish')]).dataloaders(files, bs=4) for extra in ([], [Inverted()]))
float((plain.valid.one_batch()[0] - turned.valid.one_batch()[0]).abs().max())
# Out: ^0.0$
# %%
a, b = (next(iter(dls.train.batches(epoch=0))).inputs for dls in (plain, turned))
float((a + b - 1).abs().max()) < 0.02
# Out: True
# %%
tfm, pipe = Categorize(['a', 'b', 'c']), Pipeline([lambda x: x + 1, lambda x: x * 2])
tfm('b'), tfm.decode(tfm('b')), pipe(3), ToTensor()(PILImage.create(files[0])).shape[0], IntToFloatTensor()(torch.full((3, 2, 2), 255)).max()
# Out: \(tensor\(1\),\s+'b',\s+8,\s+3,\s+tensor\(1.\)\)
# %%
DataBlock((ImageBlock, CategoryBlock), get_y=label, item_tfms=[Inverted, Resize]).dataloaders(files)
# raises: InputError: .*Did you mean `Resize
# %%
EndSplitter(valid_pct=.3)(range(10)), TrainTestSplitter(test_size=.2, random_state=1, stratify=[0, 1] * 10)(range(20))[1].__len__()
# Out: \(\(\[0, 1, 2, 3, 4, 5, 6\], \[7, 8, 9\]\), 4\)
# %% loaders of one's own, chapter 4
train_x, train_y = torch.randn(64, 4), (torch.arange(64) % 2)[:, None].float()
train_x[:, 0] += 4 * train_y[:, 0]
dset = list(zip(train_x, train_y))
def batch_accuracy(xb, yb): return ((xb.sigmoid() > 0.5) == yb).float().mean()
def loss(predictions, targets):
    predictions = predictions.sigmoid()
    return torch.where(targets == 1, 1 - predictions, predictions).mean()
learn = Learner(DataLoaders(DataLoader(dset, batch_size=16), DataLoader(dset, batch_size=64)), nn.Linear(4, 1), opt_func=SGD,
                loss_func=loss, metrics=batch_accuracy)
with learn.no_bar(): learn.fit(8, lr=1.)
preds, targs = learn.get_preds()
float(batch_accuracy(preds, targs)) == L(learn.recorder.values).itemgot(2)[-1], learn.final_record[2] > 0.9
# Out: \(True,\s+True\)
# %%
learn.export()
# raises: InputError: `export` needs to know what is learned
# %%
to_np(torch.tensor([1., 2.])), array([1, 2]), range_of([4, 5]), L('abc'), L(1, 2, 3), L(range(3)), L([dict(a=1)]).itemgot('a')
# Out: array\(\[1., 2.\][\s\S]*array\(\[1, 2\]\),\s+\[0, 1\],\s+\(#1\) \['abc'\],\s+\(#3\) \[1,2,3\],\s+\(#3\) \[0,1,2\],\s+\(#1\) \[1\]\)
# %% own heads, other networks
learn = vision_learner(plain, 'test_resnet', pretrained=False, ps=0.1, lin_ftrs=[16], n_out=plain.c, concat_pool=False, normalize=False)
[m.p for m in learn.model[1].modules() if isinstance(m, nn.Dropout)][-1], [m.out_features for m in learn.model[1].modules() if isinstance(m, nn.Linear)]
# Out: \(0.1, \[16, \d+\]\)
# %%
head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LazyLinear(plain.c))
learn = vision_learner(plain, 'test_resnet', pretrained=False, custom_head=head)
with learn.no_bar(): learn.fit(1)
learn.model[1] is head, learn.model[0][-1] is list(learn.model[0].network.children())[-1] or len(learn.model[0]) > 0
# Out: \(True,\s+True\)
# %%
learn = Learner(plain, xresnet18(n_out=plain.c), loss_func=CrossEntropyLossFlat(), metrics=accuracy)
sum(p.numel() for p in params(learn.model))
# Out: ^\d{8}$
# %%
TensorPoint([[1, 2]]), TensorCategory(1)
# Out: \(TensorPoint\(\[\[1., 2.\]\]\), tensor\(1\)\)
