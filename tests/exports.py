"""Data sets as the tools of others export them, drawn in small with a truth that is known."""

import base64
import io
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

CLASSES = ("cat", "dog", "fox")
SIDES = ("train", "train", "train", "train", "valid", "valid", "test", "test")
SIZE = (48, 40)
POINTS = ("nose", "tail")


@dataclass
class Truth:
    """What a data set says: names, sides and, where it has them, points of each image, by the name of its file."""

    labels: dict[str, tuple[str, ...]] = field(default_factory=dict)
    sides: dict[str, str | None] = field(default_factory=dict)
    points: dict[str, tuple[tuple[float, float], ...]] = field(default_factory=dict)


def picture(path: Path, seed: int) -> Path:
    """Save an image that is like no other."""
    path.parent.mkdir(parents=True, exist_ok=True)
    small = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(small).resize(SIZE, Image.Resampling.NEAREST).save(path)
    return path


def rows(*, one: bool = False, sides=SIDES):
    """Yield (number, side, names, points) of eight images."""
    rng = np.random.default_rng(5)
    for at, side in enumerate(sides):
        names = tuple(sorted({CLASSES[at % 3], CLASSES[(at * 2 + 1) % 3]})) if not one else (CLASSES[at % 3],)
        x, y = rng.uniform(4, 30, (2, 2)).round(2)
        yield at, side, names, tuple(zip(x.tolist(), y.tolist(), strict=True))


def coco_dict(entries, *, points=False, first_id=1, nothing_category=False):
    """Return COCO's lists of (file name, names, points)."""
    categories = [{"id": at + 1, "name": name, "supercategory": "animals"} for at, name in enumerate(CLASSES)]
    if nothing_category:
        categories.insert(0, {"id": 0, "name": "animals", "supercategory": "none"})
    if points:
        categories = [{"id": 1, "name": "animal", "keypoints": list(POINTS), "skeleton": []}]
    images, annotations = [], []
    for number, (name, names, places) in enumerate(entries, start=first_id):
        images.append({"id": number, "file_name": name, "width": SIZE[0], "height": SIZE[1]})
        box = {"image_id": number, "bbox": [2, 2, 20, 20], "area": 400, "iscrowd": 0, "segmentation": []}
        if points:
            triples = [value for x, y in places for value in (x, y, 2)]
            annotations.append({"id": len(annotations) + 1, "category_id": 1, "keypoints": triples, **box})
        else:
            for one in names:
                annotations.append({"id": len(annotations) + 1, "category_id": CLASSES.index(one) + 1, **box})
    return {"images": images, "annotations": annotations, "categories": categories}


def roboflow_coco(root):
    truth = Truth()
    for side in ("train", "valid", "test"):
        entries = []
        for at, where, names, _ in rows():
            if where == side:
                name = f"c{at}_jpg.rf.{at:032x}.jpg"
                picture(root / side / name, at)
                entries.append((name, names, ()))
                truth.labels[name], truth.sides[name] = names, side
        (root / side / "_annotations.coco.json").write_text(json.dumps(coco_dict(entries, nothing_category=True)))
    (root / "README.roboflow.txt").write_text("exported\n")
    return truth


def roboflow_several_labels(root):
    truth = Truth()
    for side in ("train", "valid", "test"):
        lines = ["filename, " + ", ".join(CLASSES)]
        for at, where, names, _ in rows():
            if where == side:
                name = f"c{at}_jpg.rf.{at:032x}.jpg"
                picture(root / side / name, at)
                lines.append(f"{name}, " + ", ".join(str(int(one in names)) for one in CLASSES))
                truth.labels[name], truth.sides[name] = names, side
        (root / side / "_classes.csv").write_text("\n".join(lines) + "\n")
    return truth


def _yolo_line(names, points=None):
    if points is not None:
        return "0 .5 .5 .9 .9 " + " ".join(f"{x / SIZE[0]} {y / SIZE[1]} 2" for x, y in points)
    return "\n".join(f"{CLASSES.index(one)} .5 .5 .4 .4" for one in names)


def roboflow_yolo(root):
    truth = Truth()
    for at, side, names, _ in rows():
        picture(root / side / "images" / f"c{at}.jpg", at)
        label = root / side / "labels" / f"c{at}.txt"
        label.parent.mkdir(parents=True, exist_ok=True)
        label.write_text(_yolo_line(names))
        truth.labels[f"c{at}.jpg"], truth.sides[f"c{at}.jpg"] = names, side
    text = "train: ../train/images\nval: ../valid/images\ntest: ../test/images\n\nnc: 3\nnames: ['cat', 'dog', 'fox']\n"
    (root / "data.yaml").write_text(text)
    return truth


def yolo_pose(root):
    truth = Truth()
    for at, side, _, points in rows():
        part = {"valid": "val"}.get(side, side)
        picture(root / "images" / part / f"c{at}.jpg", at)
        label = root / "labels" / part / f"c{at}.txt"
        label.parent.mkdir(parents=True, exist_ok=True)
        label.write_text(_yolo_line((), points))
        truth.points[f"c{at}.jpg"], truth.sides[f"c{at}.jpg"] = points, side
    text = (
        "path: .\ntrain: images/train\nval: images/val\ntest: images/test\nkpt_shape:\n- 2\n- 3\nnames:\n  0: animal\n"
    )
    (root / "data.yaml").write_text(text)
    return truth


def darknet(root):
    truth = Truth()
    for at, _, names, _ in rows():
        picture(root / "obj_train_data" / f"c{at}.jpg", at)
        (root / "obj_train_data" / f"c{at}.txt").write_text(_yolo_line(names))
        truth.labels[f"c{at}.jpg"], truth.sides[f"c{at}.jpg"] = names, None
    (root / "obj.names").write_text("\n".join(CLASSES) + "\n")
    return truth


def cvat_coco(root):
    truth = Truth()
    entries = []
    for at, _, names, _ in rows():
        picture(root / "images" / "default" / f"c{at}.png", at)
        entries.append((f"c{at}.png", names, ()))
        truth.labels[f"c{at}.png"], truth.sides[f"c{at}.png"] = names, None
    (root / "annotations").mkdir()
    (root / "annotations" / "instances_default.json").write_text(json.dumps(coco_dict(entries)))
    return truth


def cvat_keypoints(root):
    truth = Truth()
    entries = []
    for at, _, _, points in rows():
        picture(root / "images" / f"c{at}.png", at)
        entries.append((f"c{at}.png", (), points))
        truth.points[f"c{at}.png"], truth.sides[f"c{at}.png"] = points, None
    (root / "annotations").mkdir()
    text = json.dumps(coco_dict(entries, points=True))
    (root / "annotations" / "person_keypoints_default.json").write_text(text)
    return truth


def coco(root):
    truth = Truth()
    (root / "annotations").mkdir()
    for side, folder in (("train", "train2017"), ("valid", "val2017")):
        entries = []
        for at, where, names, _ in rows(sides=("train",) * 5 + ("valid",) * 3):
            if where == side:
                picture(root / folder / f"{at:012}.jpg", at)
                entries.append((f"{at:012}.jpg", names, ()))
                truth.labels[f"{at:012}.jpg"], truth.sides[f"{at:012}.jpg"] = names, side
        (root / "annotations" / f"instances_{folder}.json").write_text(json.dumps(coco_dict(entries)))
        (root / "annotations" / f"captions_{folder}.json").write_text('{"images": [], "annotations": []}')
    return truth


def cvat_xml(root):
    truth = Truth()
    images = []
    for at, _, names, _ in rows():
        picture(root / "images" / f"c{at}.jpg", at)
        shapes = "".join(f'<box label="{one}" xtl="1" ytl="1" xbr="9" ybr="9" z_order="0"></box>' for one in names)
        images.append(f'<image id="{at}" name="c{at}.jpg" width="{SIZE[0]}" height="{SIZE[1]}">{shapes}</image>')
        truth.labels[f"c{at}.jpg"], truth.sides[f"c{at}.jpg"] = names, None
    head = '<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>1.1</version>'
    (root / "annotations.xml").write_text(f"{head}{''.join(images)}</annotations>")
    return truth


def _voc_xml(name, names):
    objects = "".join(f"<object><name>{one}</name><difficult>0</difficult></object>" for one in names)
    return f"<annotation><filename>{name}</filename>{objects}</annotation>"


def voc(root):
    truth = Truth()
    lists = {"train": [], "valid": [], "test": []}
    for at, side, names, _ in rows():
        picture(root / "VOCdevkit/VOC2007/JPEGImages" / f"{at:06}.jpg", at)
        file = root / "VOCdevkit/VOC2007/Annotations" / f"{at:06}.xml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(_voc_xml(f"{at:06}.jpg", names))
        lists[side].append(f"{at:06}")
        truth.labels[f"{at:06}.jpg"], truth.sides[f"{at:06}.jpg"] = names, side
    main = root / "VOCdevkit/VOC2007/ImageSets/Main"
    main.mkdir(parents=True)
    for side, name in (("train", "train"), ("valid", "val"), ("test", "test")):
        (main / f"{name}.txt").write_text("\n".join(lists[side]) + "\n")
    (main / "trainval.txt").write_text("\n".join(lists["train"] + lists["valid"]) + "\n")
    return truth


def roboflow_voc(root):
    truth = Truth()
    for at, side, names, _ in rows():
        picture(root / side / f"c{at}.jpg", at)
        (root / side / f"c{at}.xml").write_text(_voc_xml(f"c{at}.jpg", names))
        truth.labels[f"c{at}.jpg"], truth.sides[f"c{at}.jpg"] = names, side
    return truth


def labelimg(root):
    truth = Truth()
    for at, _, names, _ in rows():
        picture(root / "images" / f"c{at}.jpeg", at)
        file = root / "annotations" / f"c{at}.xml"
        file.parent.mkdir(exist_ok=True)
        file.write_text(_voc_xml(f"c{at}.jpeg", names))
        truth.labels[f"c{at}.jpeg"], truth.sides[f"c{at}.jpeg"] = names, None
    return truth


def labelme(root):
    truth = Truth()
    for at, _, names, _ in rows():
        file = picture(root / f"c{at}.jpg", at)
        data = base64.b64encode(file.read_bytes()).decode()
        shapes = [{"label": one, "points": [[1, 1], [9, 1], [9, 9]], "shape_type": "polygon"} for one in names]
        record = {
            "version": "5.0.1",
            "flags": {},
            "shapes": shapes,
            "imagePath": f"..\\old\\c{at}.jpg",
            "imageData": data,
        }
        (root / f"c{at}.json").write_text(json.dumps(record))
        truth.labels[f"c{at}.jpg"], truth.sides[f"c{at}.jpg"] = names, None
        if at == 3:  # the image is in the .json alone
            file.unlink()
            truth.labels["c3.json"], truth.sides["c3.json"] = truth.labels.pop("c3.jpg"), truth.sides.pop("c3.jpg")
    return truth


def via(root):
    truth = Truth()
    images = {}
    for at, _, names, _ in rows():
        name = f"c{at}.jpg"
        size = picture(root / name, at).stat().st_size
        regions = [{"shape_attributes": {"name": "rect"}, "region_attributes": {"kind": one}} for one in names]
        images[f"{name}{size}"] = {"filename": name, "size": size, "regions": regions, "file_attributes": {}}
        truth.labels[name], truth.sides[name] = names, None
    (root / "via_region_data.json").write_text(json.dumps(images))
    return truth


def label_studio(root):
    truth = Truth()
    tasks = []
    for at, _, names, _ in rows():
        name = f"{at:08x}-c{at}.jpg"
        picture(root / "images" / f"c{at}.jpg", at)
        result = [{"from_name": "tags", "to_name": "image", "type": "choices", "value": {"choices": list(names)}}]
        data = {"image": f"/data/upload/3/{name}"}
        tasks.append({"id": at, "data": data, "annotations": [{"id": at, "completed_by": 1, "result": result}]})
        truth.labels[f"c{at}.jpg"], truth.sides[f"c{at}.jpg"] = names, None
    (root / "project-1-at-2024-01-01.json").write_text(json.dumps(tasks))
    return truth


def hugging_face_csv(root):
    truth = Truth()
    for side in ("train", "validation", "test"):
        lines = []
        for at, where, names, _ in rows(one=True):
            if {"validation": "valid"}.get(side, side) == where:
                picture(root / side / f"{at:04}.png", at)
                lines.append(f"{at:04}.png,{names[0]}")
                truth.labels[f"{at:04}.png"], truth.sides[f"{at:04}.png"] = names, where
        (root / side / "metadata.csv").write_text("file_name,label\n" + "\n".join(lines) + "\n")
    return truth


def hugging_face_jsonl(root):
    truth = Truth()
    lines = []
    for at, _, names, _ in rows():
        picture(root / f"{at:04}.png", at)
        lines.append(json.dumps({"file_name": f"{at:04}.png", "labels": list(names)}))
        truth.labels[f"{at:04}.png"], truth.sides[f"{at:04}.png"] = names, None
    (root / "metadata.jsonl").write_text("\n".join(lines) + "\n")
    return truth


def hugging_face_parquet(root):
    """Without names of files: rows are called by their numbers."""
    truth = Truth()
    (root / "data").mkdir()
    features = {"label": {"_type": "ClassLabel", "names": list(CLASSES)}, "image": {"_type": "Image"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    for side in ("train", "validation", "test"):
        images, labels = [], []
        file = root / "data" / f"{side}-00000-of-00001.parquet"
        for at, where, names, _ in rows(one=True):
            if {"validation": "valid"}.get(side, side) == where:
                out = io.BytesIO()
                Image.open(picture(root / "x.png", at)).save(out, "PNG")
                name = f"{file.name}#{len(images)}"
                images.append({"bytes": out.getvalue(), "path": f"{at}.png"})
                labels.append(CLASSES.index(names[0]))
                truth.labels[name], truth.sides[name] = names, where
        table = pa.table({"image": images, "label": labels}).replace_schema_metadata(metadata)
        pq.write_table(table, file)
    (root / "x.png").unlink()
    return truth


def class_folders(root):
    truth = Truth()
    for at, side, names, _ in rows(one=True):
        name = f"c{at}.jpg"
        picture(root / side / names[0] / name, at)
        truth.labels[name], truth.sides[name] = names, side
    return truth


def kaggle(root):
    """Train and test images of the same names, a table for the former, and a sample of what to hand in."""
    truth = Truth()
    lines = ["image_id,label"]
    for at, _, names, _ in rows(one=True):
        picture(root / "train" / f"{at}.jpg", at)
        picture(root / "test" / f"{at}.jpg", 100 + at)
        lines.append(f"{at}.jpg,{names[0]}")
        truth.labels[f"{at}.jpg"], truth.sides[f"{at}.jpg"] = names, None
    (root / "train.csv").write_text("\n".join(lines) + "\n")
    (root / "sample_submission.csv").write_text("image_id,label\n0.jpg,cat\n1.jpg,cat\n")
    return truth


def three_tables(root):
    truth = Truth()
    for side in ("train", "val", "test"):
        cells = []
        for at, where, names, _ in rows(one=True):
            if {"val": "valid"}.get(side, side) == where:
                picture(root / side / f"c{at}.jpg", at)
                cells.append({"filename": f"c{at}.jpg", "class": names[0]})
                truth.labels[f"c{at}.jpg"], truth.sides[f"c{at}.jpg"] = names, where
        pd.DataFrame(cells).to_csv(root / f"{side}.csv", index=False)
    return truth


def landmarks(root):
    truth = Truth()
    lines = ["," + ",".join(map(str, range(4)))]
    for at, _, _, points in rows():
        name = f"face_{at}.jpg"
        picture(root / "training" / name, at)
        lines.append(f"{name}," + ",".join(f"{value}" for point in points for value in point))
        truth.points[name], truth.sides[name] = points, None
    (root / "training_frames_keypoints.csv").write_text("\n".join(lines) + "\n")
    return truth


def boxes_table(root):
    truth = Truth()
    lines = ["filename,width,height,class,xmin,ymin,xmax,ymax"]
    for at, _, names, _ in rows():
        picture(root / "images" / f"c{at}.jpg", at)
        lines += [f"c{at}.jpg,48,40,{one},1,1,9,9" for one in names]
        truth.labels[f"c{at}.jpg"], truth.sides[f"c{at}.jpg"] = names, None
    (root / "labels.csv").write_text("\n".join(lines) + "\n")
    return truth


LAYOUTS = {
    draw.__name__: draw
    for draw in (
        *(roboflow_coco, roboflow_several_labels, roboflow_yolo, yolo_pose, darknet, cvat_coco, cvat_keypoints, coco),
        *(cvat_xml, voc, roboflow_voc, labelimg, labelme, via, label_studio, hugging_face_csv, hugging_face_jsonl),
        *(hugging_face_parquet, class_folders, kaggle, three_tables, landmarks, boxes_table),
    )
}
"""Every layout, by its name: a function that draws it below a folder and returns its truth."""
