"""CSV files and metadata that list images: columns, paths, labels, splits and groups."""

from __future__ import annotations

import json
import os
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from listed import rows

from glmc_zoo.data.options import DataOptions
from glmc_zoo.data.reading.label_files import LISTED_TWICE, MISSING, NOT_A_FILE, NOT_LISTED, list_csv
from glmc_zoo.data.reading.listing import LABEL_MINUS_ONE, UNLABELLED, FileListing, raw_from_listing
from glmc_zoo.errors import UserError

Put = Callable[..., Path]


def read(folder: Path, text: str, name: str = "labels.csv", **options: Any) -> FileListing:
    (folder / name).write_text(text, encoding="utf-8")
    return list_csv(folder / name, DataOptions(**options))


AB = {"train": {"a.png": "ant", "b.png": "bee"}}


@pytest.mark.parametrize(
    "text",
    [
        "file_name,label\na.png,ant\nb.png,bee\n",
        "\ufefffile_name,label\r\na.png,ant\r\nb.png,bee\r\n",
        "Path;Class\na.png;ant\nb.png;bee\n",
        "image\tcategory\na.png\tant\nb.png\tbee",
        "path|target\na.png|ant\nb.png|bee\n",
        "sep=;\nfilename;label\na.png;ant\nb.png;bee\n",
        "\n\nfilename,label\na.png, ant \n,\nb.png,bee\n",
        '"file name","label","note"\n"a.png","ant","x, y"\n"b.png","bee",""\n',
        "filepaths,labels,class\na.png,ant,0\nb.png,bee,1\n",
        ",image,label\n0, a.png ,ant\n1,./b.png,bee\n",
        "image,path,label\n7,a.png,ant\n8,b.png,bee\n",
        "id,image_id,class_name\n7,a,ant\n8,b,bee\n",
    ],
)
def test_separators_quotes_and_names_of_columns(put: Put, text: str) -> None:
    listing = read(put("a.png", "b.png"), text)
    assert rows(listing) == AB and listing.unsplit and listing.left_out.files == 0


def test_json_lines(put: Put) -> None:
    lines = [{"file_name": "a.png", "label": ["ant"], "boxes": [[1, 2]]}, {"label": "be\u2028e", "file_name": "b.png"}]
    text = "\n".join(json.dumps(line, ensure_ascii=False) for line in lines) + "\n\n"
    assert rows(read(put("a.png", "b.png"), text, "x.jsonl")) == {"train": {"a.png": "ant", "b.png": "be\u2028e"}}
    # A column that the first row lacks is a column all the same.
    lines = [{"path": "a.png", "label": 1}, {"path": "b.png", "label": 2, "split": "test"}]
    with pytest.raises(UserError, match=r"^The column split is empty in 1 row:"):
        read(put(), "\n".join(map(json.dumps, lines)), "x.jsonl")


def test_labels_are_text_as_written(put: Put) -> None:
    names = ["None", "NA", "nan", "007", "7", "true", "1.0", "1e5", "0", "null", "-1"]
    folder = put(*(f"{index}.png" for index in range(len(names))))
    text = "path,label\n" + "".join(f"{index}.png,{name}\n" for index, name in enumerate(names))
    listing = read(folder, text)
    assert list(rows(listing)["train"].values()) == names
    assert raw_from_listing(listing, DataOptions()).class_names == sorted(names)
    written = ["true", "1.0", "7", "1e5", "12345678901234567890123", "0.10", "[7]"]
    text = "".join(f'{{"path": "{index}.png", "label": {label}}}\n' for index, label in enumerate(written))
    assert list(rows(read(folder, text, "x.jsonl"))["train"].values()) == [*written[:-1], "7"]


def test_names_are_compared_in_one_unicode_form(put: Put) -> None:
    composed, decomposed = "caf\u00e9", unicodedata.normalize("NFD", "caf\u00e9")
    folder = put(f"{composed}.png", f"sub/{decomposed}1.png")
    listing = read(folder, f"path,label\n{decomposed}.png,{composed}\nsub/{composed}1.png,{decomposed}\n")
    assert rows(listing) == {"train": {f"{composed}.png": composed, f"sub/{decomposed}1.png": composed}}


def test_paths_of_every_kind(put: Put, tmp_path: Path) -> None:
    folder = put("sub/a.png", "sub/b.png", "c d.png", "sub/e,f.png", "../other/g.png", "lists/unused.png")
    lines = ["sub\\a.png,1", f"{folder}/sub/b.png,1", "c d.png,2", '"sub/e,f.png",2', "../other/g.png,2"]
    listing = read(folder, "path,label\n" + "\n".join(lines))
    assert list(rows(listing)["train"]) == ["sub/a.png", "sub/b.png", "c d.png", "sub/e,f.png", "../other/g.png"]
    # The file may lie in another folder than the images.
    lines = ["../sub/a.png,1", "../sub/b.png,2"]
    listing = read(folder / "lists", "path,label\n" + "\n".join(lines))
    assert list(rows(listing)["train"]) == ["../sub/a.png", "../sub/b.png"]
    # The folder may be named through a link.
    (tmp_path / "link").symlink_to(folder)
    listing = read(tmp_path / "link", f"path,label\n{tmp_path}/link/sub/a.png,1\n{folder}/sub/b.png,2\n")
    assert list(rows(listing)["train"]) == ["sub/a.png", "sub/b.png"]


def test_absolute_paths_do_not_tell_splits_by_the_folders_above(put: Put) -> None:
    folder = put("../test/set/a.png", "../test/set/b.png") / "../test/set"
    folder = folder.resolve()
    listing = read(folder, f"path,label\n{folder}/a.png,ant\n{folder}/b.png,bee\n")
    assert rows(listing) == AB and listing.unsplit


def test_images_that_are_not_listed_are_counted(put: Put) -> None:
    folder = put("a.png", "b.png", "sub/c.png", ".hidden.png")
    listing = read(folder, "path,label\na.png,ant\n")
    assert listing.left_out.count(NOT_LISTED) == listing.left_out.files == 1
    assert listing.left_out.facts()[0].examples == ["b.png"]


def test_missing_files(put: Put) -> None:
    folder = put("a.png", "b.png")
    (folder / "folder.png").mkdir()
    (folder / "broken.png").symlink_to("nothing")
    text = "path,label\na.png,ant\nb.png,bee\ngone.png,ant\n,bee\nbroken.png,ant\nfolder.png,bee\n"
    with pytest.raises(UserError) as caught:
        read(folder, text)
    assert str(caught.value) == (
        f"{folder}/labels.csv lists 3 files that do not exist, such as 'gone.png': paths are relative to the folder of "
        "that file; mend them, or pass skip_bad_images=True to leave them out."
    )
    listing = read(folder, text, skip_bad_images=True)
    assert rows(listing) == AB
    assert (listing.left_out.count(MISSING), listing.left_out.count(NOT_A_FILE)) == (3, 1)
    with pytest.raises(UserError, match=r"lists 1 file that does not exist, such as 'x\.png'.*; mend them\.$"):
        read(folder, "path,label\nx.png,ant\n", skip_bad_images=True)


def test_files_that_are_listed_twice(put: Put) -> None:
    folder = put("a.png", "b.png")
    listing = read(folder, f"path,label\na.png,ant\nb.png,bee\n./a.png,ant\n{folder}/a.png,ant\n")
    assert rows(listing) == AB and listing.left_out.count(LISTED_TWICE) == 2
    with pytest.raises(UserError, match=r"labels\.csv lists a\.png in two classes, ant and bee: keep one of the rows"):
        read(folder, "path,label\na.png,ant\na.png,bee\n")
    with pytest.raises(UserError, match=r"labels\.csv lists a\.png in two splits, train and test: keep one of the"):
        read(folder, "path,label,split\na.png,ant,train\na.png,ant,test\n")


@pytest.mark.parametrize(
    "text",
    [
        "path,label,split\na.png,ant,train\nb.png,bee,test\n",
        "path,label,Split\na.png,ant,train\nb.png,bee, test\n",
        "path,label,subset\na.png,ant,train\nb.png,bee,test\n",
        "path,label,data set\na.png,ant,train\nb.png,bee,test\n",
        "path,label,season,split\na.png,ant,test,train\nb.png,bee,train,test\n",
    ],
)
def test_a_column_of_splits(put: Put, text: str) -> None:
    listing = read(put("a.png", "b.png"), text)
    assert rows(listing) == {"train": {"a.png": "ant"}, "test": {"b.png": "bee"}} and not listing.unsplit


def test_other_columns_are_no_splits(put: Put) -> None:
    folder = put("a.png", "b.png")
    assert read(folder, "path,label,subset\na.png,ant,day\nb.png,bee,night\n").unsplit
    listing = read(folder, "path,label,part\na.png,ant,x\nb.png,bee,y\n", split_column="part", train_split="x")
    assert set(listing.splits) == {"x", "y"}
    with pytest.raises(UserError, match=r"split_column='z' is not a column: the columns of .* are path, label, part"):
        read(folder, "path,label,part\na.png,ant,x\nb.png,bee,y\n", split_column="z")
    assert read(folder, "path,label,split\na.png,ant,\nb.png,bee,\n").unsplit
    with pytest.raises(UserError, match=r"^split_column='part' is empty in every row: name the column that holds"):
        read(folder, "path,label,part\na.png,ant,\nb.png,bee, \n", split_column="part")
    with pytest.raises(UserError, match="The column split holds 1, 2, and none of them is called train"):
        read(folder, "path,label,split\na.png,ant,1\nb.png,bee,2\n")


def test_paths_into_split_folders(put: Put) -> None:
    folder = put("data/train/x/a.png", "data/test/x/b.png", "data/other/c.png")
    listing = read(folder, "path,label\ndata/train/x/a.png,ant\ndata/test/x/b.png,ant\n")
    assert rows(listing) == {"train": {"data/train/x/a.png": "ant"}, "test": {"data/test/x/b.png": "ant"}}
    for lines in ("data/train/x/a.png,ant\ndata/test/x/b.png,ant\n", "data/test/x/b.png,ant\n"):
        with pytest.raises(UserError) as caught:
            read(folder, f"path,label\ndata/other/c.png,bee\n{lines}")
        assert str(caught.value) == (
            f"{folder}/labels.csv lists images in split folders and others outside of them (other): add a column split "
            "that names the split of each image."
        )
    listing = read(folder, "path,label,split\ndata/other/c.png,bee,train\ndata/test/x/b.png,bee,test\n")
    assert set(listing.splits) == {"train", "test"}


def test_groups(put: Put) -> None:
    folder = put("a.png", "b.png")
    text = "path,label,Group,camera\na.png,ant,g1,c1\nb.png,bee,g2,\n"
    listing = read(folder, text)
    assert (listing.grouped_by, listing.splits["train"].groups) == ("Group", ["g1", "g2"])
    raw = raw_from_listing(listing, DataOptions())
    assert raw.train.groups is not None and raw.train.groups.tolist() == ["g1", "g2"] and raw.grouped_by == "Group"
    with pytest.raises(UserError) as caught:
        read(folder, text, split_by="camera")
    assert str(caught.value) == (
        f"The column camera of {folder}/labels.csv is empty for 1 image: write the group of each, a name of its own "
        "for one that stands alone."
    )
    with pytest.raises(UserError, match=r"^split_by='x' is not a column of .*labels.csv: give one of path, label, Gr"):
        read(folder, text, split_by="x")
    assert read(folder, text, split_by="path:(.)").grouped_by == "Group"
    assert read(folder, "path,label\na.png,ant\nb.png,bee\n").splits["train"].groups == []


def test_rows_without_a_label(put: Put) -> None:
    folder = put("a.png", "b.png", "c.png")
    text = "path,label,split\na.png,ant,train\nb.png,,train\nc.png, ,test\n"
    raw = raw_from_listing(read(folder, text), DataOptions())
    assert (raw.class_names, len(raw.train.rows), raw.test) == (["ant"], 1, None)
    assert raw.notes == [
        "The split train has 1 image without a label.",
        "The split test has no image with a label and is not used.",
    ]
    with pytest.raises(UserError, match=r"^No image of .* has a label: give the classes as folders or in a CSV file"):
        raw_from_listing(read(folder, "path,label\na.png,\n"), DataOptions())


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "name,label\na.png,ant\n",
            "No column is recognised as the image column: the columns of {} are name, label; name one with "
            "image_column=.",
        ),
        (
            "path,kind\na.png,ant\n",
            "No column is recognised as the label column: the columns of {} are kind; name one with label_column=.",
        ),
        ("", "{} has no rows: list the images with their classes in it."),
        ("path,label\n", "{} has no rows: list the images with their classes in it."),
        (
            "path,label\na.png,ant,x\n",
            "Line 2 of {} has 3 cells and its first line 2: write as many, and put text that holds the separator in "
            "quotes.",
        ),
        (
            "\npath,label\n\na.png\n",
            "Line 4 of {} has 1 cells and its first line 2: write as many, and put text that holds the separator in "
            "quotes.",
        ),
        ("path,label,label\na.png,ant,bee\n", "{} has several columns called label: rename all but one of them."),
        (
            'path,label\na.png,"ant\nb.png,bee\n',
            "The row in line 2 of {} cannot be read as CSV: a quote is not closed.",
        ),
        (
            "path,label,category\na.png,ant,x\nb.png,bee,x\n",
            "The columns label and category of {} may each be the label column: name one with label_column=.",
        ),
    ],
)
def test_files_that_cannot_be_used(put: Put, text: str, sentence: str) -> None:
    folder = put("a.png", "b.png")
    with pytest.raises(UserError) as caught:
        read(folder, text)
    assert str(caught.value) == sentence.format(folder / "labels.csv")


NO_HEADER = (
    "and does not name the columns: write a first line such as image,label, with a comma, semicolon, tab or | between "
    "the columns of each line"
)
OFFICIAL = (
    " (lists of lines 'PATH LABEL' are only for split_file=, with imagenet_lt and other data sets with official lists)"
)


@pytest.mark.parametrize(
    ("text", "first", "end"),
    [
        ("a.png 0\nb.png 1\n", "a.png 0", f"{OFFICIAL}."),
        ("zero/a.JPEG\nb.png\n", "zero/a.JPEG", f"{OFFICIAL}."),
        ("a.png,ant\nb.png,bee\n", "a.png, ant", "."),
        ("a.png\t1\t1\nb.png\t1\t2\n", "a.png, 1, 1", "."),  # not "several columns called 1"
    ],
)
def test_a_list_without_the_names_of_its_columns(put: Put, text: str, first: str, end: str) -> None:
    """As the official lists of long-tailed sets are: no name of a column can be given."""
    folder = put("a.png", "b.png")
    for options in ({}, {"image_column": "image"}):
        with pytest.raises(UserError) as caught:
            read(folder, text, "train.txt", **options)
        assert str(caught.value) == f"The first line of {folder / 'train.txt'} is {first!r} {NO_HEADER}{end}"


def test_a_column_may_be_called_like_an_image(put: Put) -> None:
    """Where the columns are known, and where the names of the columns are keys of JSON."""
    assert rows(read(put("a.png", "b.png"), "path,label,x.png\na.png,ant,\nb.png,bee,\n")) == AB
    with pytest.raises(UserError, match=r"^No column is recognised as the image column: .* are a\.png; name one"):
        read(put(), json.dumps({"a.png": "ant"}), "x.jsonl")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("{", "Line 1 of .* is not JSON: "),
        ("[1]", "Line 1 of .* is not an object: write one object for each image"),
        ('{"path": "a.png", "label": ["x", "y"]}', r'has the label \["x", "y"\]: give one class for each image'),
        ('{"path": "a.png", "label": {"x": 1}}', "give one class for each image"),
    ],
)
def test_json_lines_that_cannot_be_used(put: Put, text: str, part: str) -> None:
    with pytest.raises(UserError, match=part):
        read(put("a.png"), text, "x.jsonl")


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_another_encoding(put: Put, encoding: str) -> None:
    folder = put("a.png")
    (folder / "labels.csv").write_text("path,label\na.png,café\n", encoding=encoding)
    with pytest.raises(UserError, match=r"labels\.csv is not UTF-8 text \(.*\): save it as UTF-8\.$"):
        list_csv(folder / "labels.csv", DataOptions())


@pytest.mark.parametrize(
    ("column", "train", "test"),
    [("phase", "Train", "val"), ("Usage", "Training", "PublicTest"), ("is_train", "1", "0"), ("isTest", "no", "yes")],
)
def test_test_images_are_not_trained_on_whatever_their_column_is_called(
    put: Put, column: str, train: str, test: str
) -> None:
    text = f"path,label,{column}\na.png,ant,{train}\nb.png,bee,{train}\nc.png,ant,{test}\n"
    listing = read(put("a.png", "b.png", "c.png"), text)
    assert [sorted(part.paths) for part in listing.splits.values()] == [["a.png", "b.png"], ["c.png"]]
    assert listing.layout == f"CSV file, split by its column {column}"


def test_cells_may_be_long(put: Put) -> None:
    listing = read(put("a.png", "b.png"), f"path,label,text\na.png,ant,{'x' * 200_000}\nb.png,bee,y\n")
    assert rows(listing) == AB


def test_minus_one_beside_whole_numbers_is_no_class(put: Put) -> None:
    """It is counted, with its reason; as a class of signs or of names it stays."""
    folder = put("a.png", "b.png", "c.png", "d.png")
    raw = raw_from_listing(read(folder, "path,label\na.png,0\nb.png,-1\nc.png,1\nd.png,\n"), DataOptions())
    assert raw.class_names == ["0", "1"] and len(raw.train.rows) == 2
    assert raw.left_out.count(LABEL_MINUS_ONE) == 1 and raw.left_out.count(UNLABELLED) == 1
    raw = raw_from_listing(read(folder, "path,label\na.png,1\nb.png,-1\n"), DataOptions())
    assert raw.class_names == ["-1", "1"]


def test_a_cell_that_was_kept_from_being_a_formula_is_read_as_it_was(put: Put) -> None:
    folder = put("=a.png", "'b.png")
    listing = read(folder, "path,label\n'=a.png,'+x\n'b.png,-1\n")
    assert rows(listing) == {"train": {"=a.png": "+x", "'b.png": "-1"}}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_in_a_list_is_counted(put: Put) -> None:
    folder = put("a.png", "b.png")
    os.mkfifo(folder / "x.png")
    listing = read(folder, "path,label\na.png,ant\nb.png,bee\nx.png,bee\n")
    assert rows(listing) == AB and listing.left_out.count(NOT_A_FILE) == 1


def test_a_split_without_a_file(put: Put) -> None:
    folder = put("a.png", "b.png")
    text = "path,label,split\na.png,ant,train\nb.png,bee,train\nc.png,ant,test\n"
    raw = raw_from_listing(read(folder, text, skip_bad_images=True), DataOptions())
    assert raw.test is None and raw.notes == ["The split test has no image file and is not used."]
    assert raw.left_out.count(MISSING) == 1


def test_no_listed_path_is_a_file(put: Put) -> None:
    """The labels are there: the sentence names the files."""
    folder = put("images/a.png", "more/b.png")
    with pytest.raises(UserError) as caught:
        raw_from_listing(read(folder, "path,label\nimages,ant\nmore,bee\n"), DataOptions())
    assert str(caught.value) == (
        f"No image of {folder} can be used, as these are left out: 2 {NOT_A_FILE} (images, more); correct the paths of "
        "the images."
    )
    raw = raw_from_listing(read(folder, "path,label\nimages/a.png,ant\nmore/b.png,bee\n"), DataOptions())
    assert raw.class_names == ["ant", "bee"]
