# Names of fastai that foveal does not have: the error says what to write instead.
# %%
from foveal.vision.all import *
from foveal.course.refused import explain_missing_names
explain_missing_names()
# Out: ^True$
# %%
learn = unet_learner(dls, resnet34)
# raises: ^NameError: name 'unet_learner' is not defined. `unet_learner` is fastai's for segmentation, a class per pixel, which foveal does not do; segmentation_models_pytorch does\.$
# %%
def lines(files):
    return TextDataLoaders.from_folder(files)
lines([])
# raises: ^NameError: name 'TextDataLoaders' is not defined. `TextDataLoaders` is fastai's for text, which foveal does not do; .*transformers does\.$
# %%
wibble
# raises: ^NameError: name 'wibble' is not defined$
# %%
explain_missing_names()
# Out: ^True$
# %%
1 + 1
# Out: ^2$
# %%
float(sigmoid(torch.zeros(()))), FlipItem(p=0.3).p
# prints: `sigmoid` was brought from foveal.course.layers.
# Out: \(0.5, 0.3\)
# %%
sigmoid
# Out: foveal.course.layers.sigmoid
