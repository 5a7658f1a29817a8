"""Tables: which splits and columns are used, the classes, and a Hub that cannot be reached."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import datasets
import numpy as np
import pyarrow
import pytest

from glmc_zoo.data.options import DataOptions
from glmc_zoo.data.reading.columns import find_image_column, find_label_column, read_labels
from glmc_zoo.data.reading.hub import open_hub
from glmc_zoo.data.reading.tables import raw_from_tables
from glmc_zoo.errors import UserError

Make = Callable[..., Any]

IMAGE = datasets.Image()
CLASSES = datasets.ClassLabel(names=["a", "b"])
TEXT = datasets.Value("string")


def test_named_splits_and_columns(make_table: Make) -> None:
    tables = {"large": make_table([0, 1, 1], image="img"), "small": make_table([0, 1], image="img")}
    raw = raw_from_tables(
        tables, DataOptions(train_split="large", test_split="small", image_column="img", label_column="label")
    )
    assert raw.test is not None
    assert (len(raw.train.labels), len(raw.test.labels)) == (3, 2)
    only = raw_from_tables({"everything": make_table([0, 1])}, DataOptions())
    assert only.notes == ["The split everything is used as the training split."]


@pytest.mark.parametrize(
    ("names", "options", "parts"),
    [
        (["train"], {"test_split": "tset"}, ["'tset'", "train", "test_split="]),
        (["train"], {"train_split": "x"}, ["train_split='x'"]),
        (["one", "two"], {}, ["one, two", "train_split="]),
        (["train"], {"train_split": "train", "test_split": "train"}, ["'train'", "both"]),
    ],
)
def test_splits_that_cannot_be_told(make_table: Make, names: list[str], options: dict, parts: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        raw_from_tables({name: make_table([0, 1]) for name in names}, DataOptions(**options))
    assert all(part in str(caught.value) for part in parts)
    assert str(caught.value) == caught.value.sentence


def test_the_hub_out_of_reach_is_one_sentence() -> None:
    with pytest.raises(UserError) as caught:
        open_hub("nobody/nothing", DataOptions())
    message = str(caught.value)
    assert message == caught.value.sentence
    assert all(part in message for part in ["nobody/nothing", "network", "data_dir="])


def table(values: list, feature: object, column: str = "label") -> datasets.Dataset:
    if not isinstance(feature, datasets.ClassLabel):
        return datasets.Dataset.from_dict({column: values}, features=datasets.Features({column: feature}))
    # As a file may hold them: `from_dict` would refuse numbers outside the classes.
    rows = pyarrow.table({column: pyarrow.array(values, pyarrow.int64())})
    return datasets.Dataset(rows, info=datasets.DatasetInfo(features=datasets.Features({column: feature})))


@pytest.mark.parametrize(
    ("features", "image", "label"),
    [
        ({"img": IMAGE, "label": CLASSES}, "img", "label"),
        ({"id": TEXT, "species": CLASSES, "photo": IMAGE}, "photo", "species"),
        ({"image": IMAGE, "label": TEXT, "caption": TEXT}, "image", "label"),
        (
            {"image": {"bytes": datasets.Value("binary"), "path": TEXT}, "target": datasets.Value("int64")},
            "image",
            "target",
        ),
    ],
)
def test_columns_are_found_by_type(features: dict, image: str, label: str) -> None:
    assert find_image_column(features) == image
    assert find_label_column(features) == label


def test_the_column_asked_for_is_taken() -> None:
    features = {"img": IMAGE, "fine_label": CLASSES, "coarse_label": CLASSES}
    assert find_label_column(features, "coarse_label") == "coarse_label"
    with pytest.raises(UserError, match=r"^The columns fine_label and coarse_label may each be .*label_column="):
        find_label_column(features)


@pytest.mark.parametrize(
    ("features", "wanted", "parts"),
    [
        ({"img": IMAGE, "kind": TEXT}, None, ["No column", "label", "img, kind", "label_column="]),
        ({"img": IMAGE, "label": CLASSES}, "class", ["'class'", "img, label", "label_column="]),
    ],
)
def test_a_missing_label_column_lists_the_columns(features: dict, wanted: str | None, parts: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        find_label_column(features, wanted)
    assert all(part in str(caught.value) for part in parts)
    assert str(caught.value) == caught.value.sentence


def test_no_image_column_lists_the_columns() -> None:
    with pytest.raises(UserError, match=r"^No column .*image column: the columns are label, text; .*image_column="):
        find_image_column({"label": CLASSES, "text": TEXT})


def test_class_labels_keep_their_order() -> None:
    labels, names = read_labels([table([1, 0, 1], CLASSES), table([0], CLASSES)], "label")
    assert names == ["a", "b"]
    assert [part.tolist() for part in labels] == [[1, 0, 1], [0]]
    assert all(part.dtype == np.int64 for part in labels)


def test_text_is_sorted_over_all_splits() -> None:
    labels, names = read_labels([table(["dog", "cat"], TEXT), table(["ant"], TEXT)], "label")
    assert names == ["ant", "cat", "dog"]
    assert [part.tolist() for part in labels] == [[2, 1], [0]]


def test_integers_become_positions() -> None:
    labels, names = read_labels([table([30, 4, 100, 4], datasets.Value("int32"))], "label")
    assert names == ["4", "30", "100"]
    assert labels[0].tolist() == [1, 0, 2, 0]


def test_splits_that_number_their_classes_differently_meet_by_name() -> None:
    other = datasets.ClassLabel(names=["b", "a"])
    labels, names = read_labels([table([0, 1], CLASSES), table([0, 1], other)], "label")
    assert names == ["a", "b"]
    assert [part.tolist() for part in labels] == [[0, 1], [1, 0]]


def test_labels_follow_select_and_decode_nothing() -> None:
    records = {"image": [{"bytes": b"broken", "path": None}] * 4, "label": [0, 1, 1, 0]}
    features = datasets.Features({"image": IMAGE, "label": CLASSES})
    chosen = datasets.Dataset.from_dict(records, features=features).select([3, 1])
    assert read_labels([chosen], "label")[0][0].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("values", "feature", "parts"),
    [
        ([0.5, 1.0], datasets.Value("float32"), ["float", "label_column="]),
        ([[0], [1]], datasets.List(datasets.Value("int64")), ["one class per image"]),
    ],
)
def test_labels_that_cannot_be_used(values: list, feature: object, parts: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        read_labels([table(values, feature)], "label")
    assert all(part in str(caught.value) for part in parts)
    assert str(caught.value) == caught.value.sentence


def test_a_label_outside_of_the_classes_is_named() -> None:
    import pyarrow as pa

    rows = datasets.table.InMemoryTable(pa.table({"label": [0, 2]}))
    odd = datasets.Dataset(rows, info=datasets.DatasetInfo(features=datasets.Features({"label": CLASSES})))
    with pytest.raises(UserError, match=r"^Row 1 has the label 2 in column 'label', outside its 2 classes"):
        read_labels([odd], "label")


@pytest.mark.parametrize(
    ("values", "feature", "labels", "names"),
    [
        ([0, None, 1], CLASSES, [0, -1, 1], ["a", "b"]),
        ([0, -1, 1], CLASSES, [0, -1, 1], ["a", "b"]),
        (["b", None, "", "None"], datasets.Value("string"), [1, -1, -1, 0], ["None", "b"]),
        ([7, None, 5], datasets.Value("int64"), [1, -1, 0], ["5", "7"]),
        ([-1, 5], datasets.Value("int64"), [0, 1], ["-1", "5"]),
    ],
)
def test_a_row_without_a_label_is_of_no_class(values: list, feature: object, labels: list, names: list) -> None:
    ((read,), classes) = read_labels([table(values, feature)], "label")
    assert (read.tolist(), classes) == (labels, names)


def test_a_split_without_the_column() -> None:
    with pytest.raises(UserError, match=r"'label'.*other"):
        read_labels([table([0], CLASSES), table([0], CLASSES, "other")], "label")


def test_a_table_that_says_its_splits(make_table: Make) -> None:
    rows = make_table([0, 1, 1, 0])
    by_text = rows.add_column("split", ["train", "train", "Test", "test"])
    raw = raw_from_tables({"train": by_text}, DataOptions())
    assert raw.test is not None
    assert (raw.train.rows.tolist(), raw.test.rows.tolist()) == ([0, 1], [2, 3])
    assert raw.layout == "rows of a table, split by its column split"
    raw = raw_from_tables({"train": rows.add_column("subset", ["day", "day", "night", "day"])}, DataOptions())
    assert raw.test is None and len(raw.train.rows) == 4
    with pytest.raises(UserError, match=r"^The column split is empty in 1 row: write the split of each image"):
        raw_from_tables({"train": rows.add_column("split", ["train", "", "test", "test"])}, DataOptions())
    with pytest.raises(UserError, match=r"^The column split holds 0, 1, and none of them is called train: name the"):
        raw_from_tables({"train": rows.add_column("split", [0, 1, 1, 0])}, DataOptions())
    with pytest.raises(
        UserError, match=r"^split_column='split' is for a single table, and .* the splits train, test: "
    ):
        raw_from_tables({"train": rows, "test": rows}, DataOptions(split_column="split"))
    with pytest.raises(UserError, match=r"^split_column='fold' is not a column: give one of image, label\.$"):
        raw_from_tables({"train": rows}, DataOptions(split_column="fold"))
    assert raw_from_tables({"train": rows.add_column("split", [""] * 4)}, DataOptions()).test is None
    with pytest.raises(UserError, match=r"^split_column='part' is empty in every row: name the column that holds"):
        raw_from_tables({"train": rows.add_column("part", [""] * 4)}, DataOptions(split_column="part"))


def test_a_column_of_splits_that_is_a_class_label(make_table: Make) -> None:
    feature = datasets.ClassLabel(names=["test", "train"])
    rows = make_table([0, 1, 1, 0]).add_column("split", [1, 1, 0, 0]).cast_column("split", feature)
    raw = raw_from_tables({"train": rows}, DataOptions())
    assert raw.test is not None and raw.test.rows.tolist() == [2, 3] and raw.class_names == ["a", "b"]


@pytest.mark.parametrize("kind", ["no column", "-1", "null"])
def test_a_test_split_without_labels(make_table: Make, kind: str) -> None:
    test = make_table([0, 1])
    if kind == "no column":
        test = test.remove_columns("label")
    else:
        empty = [-1 if kind == "-1" else None] * 2
        test = test.remove_columns("label").add_column("label", empty).cast_column("label", CLASSES)
    raw = raw_from_tables({"train": make_table([0, 1, 1]), "test": test}, DataOptions())
    assert raw.test is None and raw.left_out.count("without a label") == 2
    assert raw.notes == ["The split test has 2 images and no labels, and is not used."]
    with pytest.raises(UserError, match=r"^test_split='test' has no labels: name another split, or leave it out\.$"):
        raw_from_tables({"train": make_table([0, 1]), "test": test}, DataOptions(test_split="test"))
    raw = raw_from_tables({"train": make_table([0, 1]), "validation": make_table([1, 0]), "test": test}, DataOptions())
    assert raw.test is not None and raw.test.labels.tolist() == [1, 0]


def test_rows_without_a_label_are_left_out(make_table: Make) -> None:
    table = make_table([0, 1, 1]).remove_columns("label").add_column("label", ["a", None, " b "])
    raw = raw_from_tables({"train": table}, DataOptions())
    assert (raw.class_names, raw.train.rows.tolist(), raw.left_out.count("without a label")) == (["a", "b"], [0, 2], 1)


def test_names_of_classes_in_two_unicode_forms_and_orders() -> None:
    one = datasets.ClassLabel(names=["caf\u00e9", "bar"])
    other = datasets.ClassLabel(names=["bar", "cafe\u0301"])
    labels, names = read_labels([table([0, 1], one), table([0, 1], other)], "label")
    assert names == ["bar", "caf\u00e9"]
    assert [part.tolist() for part in labels] == [[1, 0], [0, 1]]
    twice = datasets.ClassLabel(names=["caf\u00e9", "cafe\u0301"])
    assert read_labels([table([0, 1], twice)], "label")[1] == ["caf\u00e9"]


def test_a_null_among_integers_stays_one_beside_text() -> None:
    labels, names = read_labels([table([1, None], datasets.Value("int64")), table(["1", "x"], TEXT)], "label")
    assert names == ["1", "x"] and [part.tolist() for part in labels] == [[0, -1], [0, 1]]


def test_groups_of_a_table(make_table: Make) -> None:
    rows = make_table([0, 1, 1]).add_column("patient", [7, 7, 8])
    raw = raw_from_tables({"train": rows}, DataOptions(split_by="patient"))
    assert raw.train.groups is not None and raw.train.groups.tolist() == ["7", "7", "8"]
    with pytest.raises(UserError, match=r"^split_by='x' is not a column: give one of image, label, patient, or path:"):
        raw_from_tables({"train": rows}, DataOptions(split_by="x"))


def test_a_column_of_text_needs_a_folder(make_table: Make) -> None:
    rows = make_table([0, 1]).add_column("file", ["a.png", "b.png"])
    with pytest.raises(
        UserError, match=r"^The image column 'file' holds text, and not images: give a column of images"
    ):
        raw_from_tables({"train": rows}, DataOptions(image_column="file"))


@pytest.mark.parametrize(
    ("column", "values"), [("phase", ["train", "train", "test", "test"]), ("is_train", [True, True, False, False])]
)
def test_test_rows_are_not_trained_on_whatever_their_column_is_called(
    make_table: Make, column: str, values: list[Any]
) -> None:
    table = make_table([0, 1, 0, 1]).add_column(column, values)
    raw = raw_from_tables({"train": table}, DataOptions())
    assert raw.test is not None
    assert (raw.train.rows.tolist(), raw.test.rows.tolist()) == ([0, 1], [2, 3])
    assert raw.layout == f"rows of a table, split by its column {column}"


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([[1, 2], [3]], "lists or objects"),
        ([{"a": 1}, {"a": 2}], "lists or objects"),
        ([1, 2], "int64"),
        ([1.5, 2.5], "float64"),
    ],
)
def test_an_image_column_of_another_kind_is_refused(values: list[Any], kind: str) -> None:
    table = datasets.Dataset.from_dict({"thing": values, "label": ["a", "b"]})
    with pytest.raises(
        UserError, match=rf"^The image column 'thing' holds {kind}: give image_column=, a column of images, of encoded"
    ):
        raw_from_tables({"train": table}, DataOptions(image_column="thing"))


def test_labels_beyond_64_bits_with_a_sign_stay_what_they_are() -> None:
    hashes = [2**63 + 5, 1, 2**64 - 1]
    table = datasets.Dataset(pyarrow.table({"label": pyarrow.array(hashes, pyarrow.uint64())}))
    labels, names = read_labels([table], "label")
    assert [names[label] for label in labels[0]] == list(map(str, hashes))


@pytest.mark.parametrize(
    ("values", "feature", "labels", "names"),
    [
        # Beside two classes from 0 on, -1 says that there is no label, as a number and as text.
        ([0, -1, 1, 0], datasets.Value("int64"), [0, -2, 1, 0], ["0", "1"]),
        (["0", "-1", "10", None], TEXT, [0, -2, 1, -1], ["0", "10"]),
        # Else it is a class: two classes of signs, ratings, names.
        ([-1, 1], datasets.Value("int64"), [0, 1], ["-1", "1"]),
        ([-2, -1, 0, 1], datasets.Value("int64"), [0, 1, 2, 3], ["-2", "-1", "0", "1"]),
        (["-1", "cat", "dog"], TEXT, [0, 1, 2], ["-1", "cat", "dog"]),
    ],
)
def test_minus_one_beside_whole_numbers_is_no_class(values: list, feature: object, labels: list, names: list) -> None:
    ((read,), classes) = read_labels([table(values, feature)], "label")
    assert read.tolist() == labels and classes == names


def test_a_label_column_without_a_class(make_table: Make) -> None:
    table = make_table([0, 1]).add_column("kind", ["", ""]).rename_column("label", "number")
    with pytest.raises(UserError) as caught:
        raw_from_tables({"train": table}, DataOptions(label_column="kind"))
    assert str(caught.value) == (
        "The label column 'kind' has no class for any image of the training split: name another with label_column=."
    )
    assert raw_from_tables({"train": table}, DataOptions(label_column="number")).class_names == ["a", "b"]


def test_a_table_without_rows(make_table: Make) -> None:
    with pytest.raises(UserError, match=r"^The training split has no rows: give a data set that has images in it\.$"):
        raw_from_tables({"train": make_table([0, 1]).select([])}, DataOptions())
