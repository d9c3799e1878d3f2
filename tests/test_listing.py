"""`L` and `Path.ls`: the forms that notebooks use, against Python's own lists."""

import operator
import pathlib
import random
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from foveal.core.errors import InputError, UnknownNameError
from foveal.core.listing import L, Path
from foveal.images.decode import EXTENSIONS


@pytest.mark.parametrize(
    ("made", "items"),
    [
        (L(), []),
        (L(None), []),
        (L("abc"), ["abc"]),
        (L(b"abc"), [b"abc"]),
        (L(1), [1]),
        (L(1, 2, 3), [1, 2, 3]),
        (L([1, 2, 3]), [1, 2, 3]),
        (L(range(3)), [0, 1, 2]),
        (L((1, 2)), [1, 2]),
        (L(x for x in "ab"), ["a", "b"]),
        (L({"a": 1, "b": 2}), ["a", "b"]),
        (L(L(1, 2)), [1, 2]),
        (L([1], [2, 3]), [[1], [2, 3]]),
        (L("abc", use_list=True), ["a", "b", "c"]),
        (L(pathlib.Path("a")), [pathlib.Path("a")]),
        (L.range(3), [0, 1, 2]),
        (L.range(1, 7, 3), [1, 4]),
        (L.range("abcd"), [0, 1, 2, 3]),
        (L.split("a b  c"), ["a", "b", "c"]),
        (L.split("a,b,c", ",", 1), ["a", "b,c"]),
    ],
)
def test_what_a_list_is_made_of(made, items):
    assert isinstance(made, L)
    assert list(made) == items
    assert len(made) == len(items)
    assert made == items


def test_an_array_a_tensor_and_a_table_are_one_item():
    for whole in (np.arange(3), torch.arange(3), pd.DataFrame({"a": [1, 2]}), pd.Series([1, 2, 3])):
        assert len(L(whole)) == 1
        assert L(whole)[0] is whole
    assert L(np.arange(3), use_list=True) == [0, 1, 2]


def test_it_prints_as_in_the_course():
    assert repr(L(1, 2, 3)) == "(#3) [1,2,3]"
    assert repr(L("a")) == "(#1) ['a']"
    assert repr(L()) == "(#0) []"
    assert repr(L(range(12))) == "(#12) [0,1,2,3,4,5,6,7,8,9...]"


@given(st.lists(st.integers()), st.data())
def test_indices_masks_and_slices_choose_what_numpy_chooses(items, data):
    made, array = L(items), np.array(items, dtype=object)
    mask = data.draw(st.lists(st.booleans(), min_size=len(items), max_size=len(items)))
    for chosen in (mask, np.array(mask, dtype=bool), torch.tensor(mask, dtype=torch.bool)):
        assert made[chosen] == array[np.array(mask, dtype=bool)].tolist()
    if items:
        where = data.draw(st.lists(st.integers(-len(items), len(items) - 1)))
        for chosen in (where, tuple(where), np.array(where, dtype=int), torch.tensor(where, dtype=torch.int64)):
            assert made[chosen] == array[np.array(where, dtype=int)].tolist()
        assert made[np.int64(0)] == made[torch.tensor(0)] == items[0]
    cut = slice(*(data.draw(st.one_of(st.none(), st.integers(-9, 9))) for _ in range(2)))
    assert made[cut] == items[cut]
    assert isinstance(made[cut], L)


def test_a_mask_of_another_length_is_refused():
    with pytest.raises(InputError, match="one entry per item, 3; got 2"):
        L(1, 2, 3)[[True, False]]
    with pytest.raises(TypeError):
        L(1, 2, 3)["a"]


@given(st.lists(st.integers(-5, 5)), st.lists(st.integers(-5, 5)))
def test_what_python_can_do_with_lists_it_can_do(first, second):
    made = L(first)
    assert made + second == first + second
    assert second + made == second + first
    assert isinstance(second + made, L)
    assert made * 2 == first * 2
    assert made.sorted() == sorted(first)
    assert made.sorted(reverse=True) == sorted(first, reverse=True)
    assert made.sorted(key=abs) == sorted(first, key=abs)
    assert made.unique() == list(dict.fromkeys(first))
    assert made.unique(sort=True) == sorted(set(first))
    assert made.map(str) == [str(x) for x in first]
    assert made.filter(lambda x: x > 0) == [x for x in first if x > 0]
    assert made.filter() == [x for x in first if x]
    assert made.filter(lambda x, least: x >= least, negate=True, least=2) == [x for x in first if x < 2]
    assert made.argwhere(lambda x: x > 0) == [i for i, x in enumerate(first) if x > 0]
    assert made.enumerate() == list(enumerate(first))
    assert made.zipwith(second) == list(zip(first, second, strict=False))
    assert L(first, second).concat() == first + second
    assert made.sum() == sum(first)
    assert made.product() == int(np.prod([*first, 1]))
    assert made.map_dict(str) == {x: str(x) for x in first}
    assert all(first[i] == x for x, i in made.val2idx().items())
    assert sorted(made.shuffle()) == sorted(first)
    made += second
    made.append(7)
    assert made == [*first, *second, 7]
    assert made.pop() == 7
    assert made.count(1) == (first + second).count(1)
    assert (3 in made) == (3 in first + second)


def test_maps_take_functions_formats_and_mappings():
    assert L(1, 2).map(operator.sub, 10) == [9, 8]  # further arguments come first, as of functools.partial
    assert L(1, 2).map(lambda x, y=0: x + y, y=3) == [4, 5]
    assert L(1, 2).map("image_{}.jpg") == ["image_1.jpg", "image_2.jpg"]
    assert L("a", "b").map({"a": 1, "b": 2}) == [1, 2]
    with pytest.raises(InputError, match="a mapping takes none"):
        L("a").map({"a": 1}, 3)
    assert L((1, 2), (3, 4)).starmap(operator.mul) == [2, 12]
    assert L((1, 2), (3, 4)).zip() == [(1, 3), (2, 4)]
    assert L([1, 2, 3], [4]).zip(cycled=True) == [(1, 4), (2, 4), (3, 4)]
    assert L().zip() == []
    assert L(1, 2, 3).reduce(operator.add) == 6
    assert L().reduce(operator.add, 5) == 5
    cycled = L(1, 2).cycle()
    assert [next(cycled) for _ in range(5)] == [1, 2, 1, 2, 1]


def test_attributes_and_items_of_each():
    items = L(SimpleNamespace(a=1, b=SimpleNamespace(c=3)), SimpleNamespace(a=2, b=SimpleNamespace(c=4)))
    assert items.attrgot("a") == [1, 2]
    assert items.attrgot("b.c") == [3, 4]
    assert items.attrgot("d", None) == [None, None]
    with pytest.raises(UnknownNameError, match=r"no attribute `aa`\. Did you mean `a`"):
        items.attrgot("aa")
    rows = L({"url": "x"}, {"url": "y", "size": 3})
    assert rows.attrgot("url") == ["x", "y"]
    assert rows.attrgot("size", 0) == [0, 3]
    with pytest.raises(UnknownNameError, match="no entry `size`"):
        rows.attrgot("size")
    pairs = L(("a", (1, 2)), ("b", (3, 4)))
    assert pairs.itemgot(0) == ["a", "b"]
    assert pairs.itemgot(1, 0) == [1, 3]
    assert items.sorted("a", reverse=True).attrgot("a") == [2, 1]
    assert pairs.sorted(0, reverse=True).itemgot(0) == ["b", "a"]
    assert L("b", "a", "b").unique(bidir=True) == (["b", "a"], {"b": 0, "a": 1})


def test_an_order_by_seed_is_always_the_same():
    items = L(range(100))
    assert items.shuffle(seed=3) == items.shuffle(seed=3)
    assert items.shuffle(seed=3) != items.shuffle(seed=4)
    assert items == list(range(100))
    random.seed(5)
    first = items.shuffle()
    assert first != items.shuffle()
    random.seed(5)
    assert first == items.shuffle()
    with pytest.raises(InputError, match="A seed is a whole number"):
        items.shuffle(seed=0.5)


def test_items_can_be_replaced():
    made = L(0, 1, 2, 3)
    made[0] = 9
    made[[1, 2]] = [7, 8]
    assert made == [9, 7, 8, 3]
    made[[True, False, False, True]] = 0
    assert made == [0, 7, 8, 0]
    made[1:3] = []
    assert made == [0, 0]
    with pytest.raises(InputError, match="one each; got 3"):
        made[[0, 1]] = [1, 2, 3]
    copy = made.copy()
    del copy[0]
    assert (made, copy) == ([0, 0], [0])
    assert made.items == [0, 0]


def test_a_folder_is_listed_by_endings_kind_and_number(tmp_path):
    folder = Path(tmp_path)
    for name in ("b.JPG", "a.jpg", "c.png", "d.txt", "e.csv", "noending"):
        (folder / name).touch()
    (folder / "sub").mkdir()

    def names(**options):
        return list(folder.ls(**options).attrgot("name"))

    assert names() == sorted(entry.name for entry in tmp_path.iterdir())
    assert names(file_exts=".jpg") == names(file_exts="jpg") == ["a.jpg", "b.JPG"]
    assert names(file_exts=[".jpg", ".txt"]) == ["a.jpg", "b.JPG", "d.txt"]
    assert names(file_type="image") == ["a.jpg", "b.JPG", "c.png"]
    assert names(file_type="text") == ["d.txt", "e.csv"]
    assert names(n_max=2) == ["a.jpg", "b.JPG"]
    assert names(n_max=1, file_exts=".png") == ["c.png"]
    with pytest.raises(UnknownNameError, match="Did you mean `image`"):
        folder.ls(file_type="images")


def test_all_images_that_foveal_reads_are_images_by_kind(tmp_path):
    for ending in EXTENSIONS:
        (tmp_path / f"x{ending}").touch()
    assert {path.suffix for path in Path(tmp_path).ls(file_type="image")} == EXTENSIONS
