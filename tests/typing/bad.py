"""A user's script with mistakes: each line that ends in `# error` must be refused, and no other."""

import foveal
from foveal.vision.all import DataBlock, ImageBlock, MultiCategoryBlock, Resize, vision_learner

block = DataBlock(blocks=(ImageBlock, MultiCategoryBlock), item_tfms=Resize(128), splittr=None)  # error
dls = block.dataloaders("photos", batch=32)  # error
learn = vision_learner(dls, "resnet18", recipe="bset")  # error
learn.fine_tune(4, base_learning_rate=1e-3)  # error
label = learn.predict("cat.jpg").lable  # error
learn.fit_one_cycle("three")  # error
run = foveal.train("train.csv", siez=128)  # error
foveal.train("train.csv", epochs="many")  # error
high = run.metrics["f1"].hihg  # error
foveal.load_learner("m.safetensors").predct("a.jpg")  # error
foveal.evaluate("m.safetensors", "t.csv", split="validation")  # error
