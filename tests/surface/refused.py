# Names of fastai that foveal does not have: the error says what to write instead.
# %%
from foveal.vision.all import *
from foveal.course.refused import explain_missing_names
explain_missing_names()
# Out: ^True$
# %%
learn = unet_learner(dls, resnet34)
# raises: ^NameError: name 'unet_learner' is not defined. `unet_learner` is fastai's for segmentation, a class per pixel; foveal does .* segmentation_models_pytorch does it\.$
# %%
def lines(files):
    return TextDataLoaders.from_folder(files)
lines([])
# raises: ^NameError: name 'TextDataLoaders' is not defined. `TextDataLoaders` is fastai's for text; .*transformers does text\.$
# %%
wibble
# raises: ^NameError: name 'wibble' is not defined$
# %%
explain_missing_names()
# Out: ^True$
# %%
1 + 1
# Out: ^2$
