"""The data sets of the fast.ai course by name: where they are, how large, with which hash, and what they hold.

Addresses, sizes and hashes (the MD5 of the first MiB) are those that fastai publishes with its `URLs`.
"""

from __future__ import annotations

from foveal.core.errors import UnknownNameError, near_match
from foveal.sources.archives import Archive

_S3 = "https://s3.amazonaws.com/fast-ai-"
_PLACES = ("s3.amazonaws.com/fast-ai-", "files.fast.ai/data/", "files.grouplens.org/datasets/movielens/")
"""Where the course's files are, or were."""


_TEXT = "text, of which foveal has no models"
_MASKS = "images with a class for every pixel (segmentation), of which foveal has no models"
_DICOM = "medical images as DICOM, a format that foveal does not read"
_SOUND = "sound, of which foveal has no models"
_LANGUAGE = "a model of language, which foveal does not use"
_REFUSED = {
    "ADULT_SAMPLE": "a table of people and their income, of which foveal has no models",
    **dict.fromkeys(("AG_NEWS", "AMAZON_REVIEWS", "AMAZON_REVIEWS_POLARITY", "DBPEDIA", "HUMAN_NUMBERS"), _TEXT),
    **dict.fromkeys(("IMDB", "IMDB_SAMPLE", "MT_ENG_FRA", "SOGOU_NEWS", "WIKITEXT", "WIKITEXT_TINY"), _TEXT),
    **dict.fromkeys(("YAHOO_ANSWERS", "YELP_REVIEWS", "YELP_REVIEWS_POLARITY"), _TEXT),
    **dict.fromkeys(("CAMVID", "CAMVID_TINY"), _MASKS),
    **dict.fromkeys(("SIIM_SMALL", "TCGA_SMALL"), _DICOM),
    **dict.fromkeys(("ESC50", "MACAQUES", "ZEBRA_FINCH"), _SOUND),
    **dict.fromkeys(("OPENAI_TRANSFORMER", "WT103_BWD", "WT103_FWD"), _LANGUAGE),
    "LSUN_BEDROOMS": "images without labels, for models that draw images",
    "BIWI_SAMPLE": "a part of URLs.BIWI_HEAD_POSE whose points are in a pickle, which can run code; take that one",
    "SKIN_LESION": "a data set that is not published any more",
}
"""Data sets of the course that foveal cannot learn from, and what they are."""


class UnknownSetError(UnknownNameError, AttributeError):
    """A name that `URLs` does not have."""


class _Names(type):
    def __getattr__(cls, name: str) -> object:
        if name.startswith("_"):
            raise AttributeError(f"type object `{cls.__name__}` has no attribute `{name}`")
        there = f"Data sets there are: {', '.join(cls.known())}."
        if name in _REFUSED:
            raise UnknownSetError(f"URLs.{name} is {_REFUSED[name]}. {there}")
        raise UnknownSetError(f"There is no data set `{name}`.{near_match(name, cls.known())} {there}")

    def known(cls) -> list[str]:
        """Return the names of all sets, sorted.

        Examples:
            >>> from foveal.vision.all import *
            >>> URLs.known()[-4:]
            ['SAMPLE_BIWI', 'SAMPLE_ML', 'SAMPLE_PASCAL', 'SAMPLE_PETS']
        """
        return [name for name in dir(cls) if not name.startswith("_")]


def _archive(file: str, n_bytes: int, md5_head: str, layout: str) -> Archive:
    return Archive(f"{_S3}{file}.tgz", file.rpartition("/")[2], n_bytes, md5_head, layout=layout)


_NETTE = "train/CLASS/*.JPEG, val/CLASS/*.JPEG, CLASS as in ImageNet (n01440764, ...); noisy_*.csv"
_WANG = f"{_NETTE.partition(';')[0]}; unsup/*.JPEG without labels"
_DIGITS = "train/3/*.png, train/7/*.png, valid/3/*.png, valid/7/*.png, labels.csv (name, label)"
_PLANET = "train/*.jpg, labels.csv (image_name, tags with blanks between)"


class URLs(metaclass=_Names):
    """The data sets of the fast.ai course, by the course's names; each knows its `address`, `n_bytes` and `layout`."""

    PETS = _archive(
        "imageclas/oxford-iiit-pet",
        811_706_944,
        "e4db5c768afd933bb91f5f594d7417a4",
        "images/BREED_number.jpg, cats with a capital; annotations/",
    )
    BIWI_HEAD_POSE = _archive(
        "imagelocal/biwi_head_pose",
        452_316_199,
        "00f4ccf66e8cba184bc292fdc08fb237",
        "PERSON/frame_*_rgb.jpg, PERSON/frame_*_pose.txt, PERSON/rgb.cal",
    )
    PASCAL_2007 = _archive(
        "imagelocal/pascal_2007",
        1_637_796_771,
        "433b4706eb7c42bd74e7f784e3fdf244",
        "train/*.jpg, train.csv (fname, labels, is_valid); test/*.jpg, test.csv; train.json, ... (COCO)",
    )
    PASCAL_2012 = _archive(
        "imagelocal/pascal_2012",
        2_618_908_000,
        "d90e29e54a4c76c0c6fba8355dcbaca5",
        "train/*.jpg, train.json, valid.json (COCO)",
    )
    PLANET_SAMPLE = _archive("sample/planet_sample", 15_523_994, "8bfb174b3162f07fbde09b54555bdb00", _PLANET)
    PLANET_TINY = _archive("sample/planet_tiny", 997_569, "490873c5683454d4b2611fb1f00a68a9", _PLANET)
    MNIST = _archive(
        "imageclas/mnist_png",
        15_683_414,
        "03639f83c4e3d19e0a3a53a8a997c487",
        "training/DIGIT/*.png, testing/DIGIT/*.png",
    )
    MNIST_SAMPLE = _archive("sample/mnist_sample", 3_214_948, "2dbc7ec6f9259b583af0072c55816a88", _DIGITS)
    MNIST_TINY = _archive("sample/mnist_tiny", 342_207, "56143e8f24db90d925d82a5a74141875", f"{_DIGITS}; test/*.png")
    MNIST_VAR_SIZE_TINY = _archive(
        "imageclas/mnist_var_size_tiny", 565_372, "b71a930f4eb744a4a143a6c7ff7ed67f", _DIGITS.partition(", labels")[0]
    )
    CIFAR = _archive(
        "sample/cifar10",
        168_168_549,
        "a5f8c31371b63a406b23368042812d3c",
        "train/CLASS/*.png, test/CLASS/*.png, labels.txt",
    )
    CIFAR_100 = _archive(
        "imageclas/cifar100",
        169_168_619,
        "e5e65dcb54b9d3913f7b8a9ad6607e62",
        "train/GROUP/CLASS/*.png, test/GROUP/CLASS/*.png",
    )
    IMAGENETTE = _archive("imageclas/imagenette2", 1_557_161_267, "2c774ecb40005b35d7937d50f5d42336", _NETTE)
    IMAGENETTE_160 = _archive("imageclas/imagenette2-160", 99_003_388, "c475f8f7617a200ba35b9facc48443c3", _NETTE)
    IMAGENETTE_320 = _archive("imageclas/imagenette2-320", 341_663_724, "1f1f74f133caff120e575856659b87a2", _NETTE)
    IMAGEWOOF = _archive("imageclas/imagewoof2", 1_343_715_595, "2cc1c1e36e20cb6fd24ffb978edcb487", _NETTE)
    IMAGEWOOF_160 = _archive("imageclas/imagewoof2-160", 92_612_825, "3559b194123981a540b87132dbda412f", _NETTE)
    IMAGEWOOF_320 = _archive("imageclas/imagewoof2-320", 328_387_740, "7a1fd92672a559a85de76e4810a20c21", _NETTE)
    IMAGEWANG = _archive("imageclas/imagewang", 2_900_347_689, "2b7776bac0fc95db72ac8a3b091a3e30", _WANG)
    IMAGEWANG_160 = _archive("imageclas/imagewang-160", 191_498_213, "dab9b1d97b95574ac64122a19bc74ca1", _WANG)
    IMAGEWANG_320 = _archive("imageclas/imagewang-320", 669_826_647, "fff8ac034d60e14fcf7789845e625263", _WANG)
    FLOWERS = _archive(
        "imageclas/oxford-102-flowers",
        345_236_087,
        "5666e01c1311b4c67fcf20d2b3850a88",
        "jpg/*.jpg; train.txt, valid.txt, test.txt: `jpg/NAME.jpg class` per line, the class a number",
    )
    CARS = _archive(
        "imageclas/stanford-cars",
        1_957_803_273,
        "9045d6673c9ced0889f41816f6bf2f9f",
        "cars_train/*.jpg, cars_test/*.jpg",
    )
    FOOD = _archive(
        "imageclas/food-101",
        5_686_607_260,
        "1a540ebf1fb40b2bf3f2294234ba7907",
        "images/CLASS/*.jpg; train.txt, test.txt: `CLASS/NAME` per line; train.json, test.json",
    )
    DOGS = _archive(
        "sample/dogscats",
        839_285_364,
        "3e483c8d6ef2175e9d395a6027eb92b7",
        "train/cats/*.jpg, train/dogs/*.jpg, valid/cats/*.jpg, valid/dogs/*.jpg; test1/*.jpg",
    )
    CUB_200_2011 = _archive(
        "imageclas/CUB_200_2011",
        1_150_585_339,
        "d2acaa99439dff0483c7bbac1bfe2a92",
        "CUB_200_2011/images/CLASS/*.jpg, CUB_200_2011/train_test_split.txt, ...; attributes.txt",
    )
    CALTECH_101 = _archive(
        "imageclas/caltech_101", 131_740_031, "d673425306e98ee4619fcdeef8a0e876", "CLASS/image_*.jpg"
    )
    COCO_SAMPLE = _archive(
        "coco/coco_sample",
        3_245_877_008,
        "006cd55d633d94b36ecaf661467830ec",
        "train_sample/*.jpg, annotations/*.json (COCO)",
    )
    COCO_TINY = _archive(
        "coco/coco_tiny", 801_038, "367467451ac4fba79a647753c2c66d3a", "train/*.jpg, train.json (COCO)"
    )
    ML_SAMPLE = _archive(
        "sample/movie_lens_sample",
        51_790,
        "10961384dfe7c5181460390a460c1f77",
        "one .csv: userId, movieId, ..., timestamp",
    )
    ML_100k = Archive(
        "http://files.grouplens.org/datasets/movielens/ml-100k.zip",
        "ml-100k",
        4_924_029,
        "39f6af2d7ea4e117f8838e4a302fec70",
        layout="u.data, u.item, u.user: tables without a header",
    )


def known_by_address(address: str) -> Archive | None:
    """Return the data set of the course that an address means, also one of earlier years, with or without an ending.

    Args:
        address: as the user wrote it.
    """
    if not address.partition("://")[2].startswith(_PLACES):
        return None
    name = address.rsplit("/", 1)[1]
    sets = [value for value in map(vars(URLs).get, URLs.known()) if isinstance(value, Archive)]
    return next((one for one in sets if name in {one.folder, one.address.rsplit("/", 1)[1]}), None)
