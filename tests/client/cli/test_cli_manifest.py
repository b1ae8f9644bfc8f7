"""Manifests: what a line says, and what is said of one that is wrong."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from tests.client.cli.manifests import DRAGS, a_line, pictures, write
from towline.cli.batch.checks import Folder, wrong_with
from towline.cli.batch.manifest import Line, Manifest
from towline.cli.batch.names import names_of, stem_of
from towline.cli.failures import CommandFailed

EXAMPLES = Path(__file__).parents[3] / "client" / "examples"


def lines_of(path: Path, data: bytes | str) -> list[Line]:
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    manifest = Manifest(path)
    lines = list(manifest.lines())
    assert manifest.sha256 == manifest.look()
    return lines


def test_a_line_of_jsonl_is_a_job(tmp_path: Path) -> None:
    write(tmp_path / "m.jsonl", a_line("a"), "", a_line("b"))
    found = list(Manifest(tmp_path / "m.jsonl").lines())
    assert [(each.number, each.job) for each in found] == [(1, a_line("a")), (3, a_line("b"))]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"{", "not JSON: Expecting property name"),
        (b"[1]", "a JSON object is needed"),
        (b'{"a": NaN}', "NaN is no number"),
        (b'{"a": 1, "a": 2}', "'a' is there twice"),
        (b'{"a": "\xff"}', "byte 8 is not UTF-8"),
        (b"[" * 100_000, "not JSON"),
        (b'{"a": "' + b"x" * 2**21 + b'"}', "longer than 1 MiB"),
    ],
)
def test_a_line_that_cannot_be_read_is_named_and_the_next_one_follows(
    tmp_path: Path, data: bytes, said: str
) -> None:
    first, second = lines_of(tmp_path / "m.jsonl", data + b'\n{"custom_id": "next"}\n')
    assert said in first.wrong[0]
    assert (second.number, second.custom_id) == (2, "next")


def test_a_row_of_csv_says_the_same_in_columns(tmp_path: Path) -> None:
    text = (
        "custom_id,image,mask,rect,polygon,drags,rounds,engine,seed,candidates,option.steps,"
        "option.quality,metadata.order,priority,expires_in_s,timeout_s\n"
        'a,a.png,m.png,,,"1,2:3,4; 5,6:7,8",,warp,7,2,8,preview,0012,high,60,30\n'
        'b,b.png,,"1,2,3,4",,,"1,2:3,4|5,6:7,8",,,,,,,,,\n'
        'c,c.png,,,"1,2 3,4 5,6","1,2:3,4",,,,,,,,,,\n'
    )
    first, second, third = (each.job for each in lines_of(tmp_path / "m.csv", text))
    drag, other = (
        {"handle": [1, 2], "target": [3, 4]},
        {"handle": [5, 6], "target": [7, 8]},
    )
    assert first == {
        "custom_id": "a",
        "image": "a.png",
        "mask": "m.png",
        "drags": [drag, other],
        "engine": "warp",
        "options": {"seed": 7, "candidates": 2, "steps": 8, "quality": "preview"},
        "metadata": {"order": "0012"},
        "priority": "high",
        "expires_in_s": 60,
        "timeout_s": 30,
    }
    assert second["mask"] == {"rect": [1, 2, 3, 4]}
    assert second["rounds"] == [[drag], [other]]
    assert third["mask"] == {"polygon": [[1, 2], [3, 4], [5, 6]]}


@pytest.mark.parametrize(
    "text",
    [
        'custom_id,image,drags\n\na,a.png,"20,20:28,20"\n',
        'custom_id;image;drags\r\n\r\na;a.png;"20,20:28,20"\r\n',
        "custom_id\timage\tdrags\n\na\ta.png\t20,20:28,20\n",
        '\ufeffcustom_id,image,drags\n,,\na,a.png,"20,20:28,20"\n',
    ],
)
def test_csv_as_spreadsheets_write_it_is_read(tmp_path: Path, text: str) -> None:
    (line,) = lines_of(tmp_path / "m.csv", text)
    assert (line.number, line.job) == (3, a_line("a"))


def test_a_row_is_named_by_the_line_where_it_begins(tmp_path: Path) -> None:
    text = 'custom_id,image,drags\n"a\nb",a.png,"1,2:3,4"\nc,c.png,"1,2:3"\n'
    first, second = lines_of(tmp_path / "m.csv", text)
    assert (first.number, first.custom_id) == (2, "a\nb")
    assert second.number == 4
    assert "drags: '1,2:3': the target '3' has 1 numbers, not 2" in second.wrong[0]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("a,a.png,1,2:3,4", "5 cells for 4 columns"),
        ('a,a.png,"1,2:3,4",x', "seed: 'x' is no whole number"),
        ('a,a.png,"1,2"3,', "the row cannot be read"),
    ],
)
def test_a_row_that_cannot_be_read_is_named_and_the_next_one_follows(
    tmp_path: Path, row: str, said: str
) -> None:
    text = f'custom_id,image,drags,seed\n{row}\nb,b.png,"1,2:3,4",5\n'
    first, second = lines_of(tmp_path / "m.csv", text)
    assert said in first.wrong[0]
    assert (second.number, second.custom_id, second.wrong) == (3, "b", [])


def test_a_row_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    data = b'custom_id,image,drags\na,\xff.png,"1,2:3,4"\nb,b.png,"1,2:3,4"\n'
    first, second = lines_of(tmp_path / "m.csv", data)
    assert (first.number, first.wrong) == (2, ["the row cannot be read: it is not UTF-8"])
    assert second.number == 3


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("custom_id,image,drag", "there is no column 'drag'"),
        ("custom_id,drags", "a column 'image' is needed"),
        ("custom_id,image,image", "column 'image' is there twice"),
        ("custom_id,image,option.", "there is no column 'option.'"),
        ("", "a column 'custom_id' is needed"),
    ],
)
def test_a_header_that_is_wrong_is_said_at_once(tmp_path: Path, header: str, said: str) -> None:
    with pytest.raises(CommandFailed) as raised:
        lines_of(tmp_path / "m.csv", f"{header}\na,b,c\n")
    assert any(said in each for each in raised.value.details)


def test_a_manifest_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match="neither"):
        Manifest(tmp_path / "m.xlsx")


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_a_manifest_is_read_in_constant_memory(tmp_path: Path, suffix: str) -> None:
    def text(number: int) -> str:
        if suffix == "jsonl":
            return f'{{"custom_id": "{number}", "image": "{"x" * 500}"}}\n'
        return f'{number},{"x" * 500},"1,2:3,4"\n'

    path = tmp_path / f"m.{suffix}"
    with path.open("w") as file:
        file.write("" if suffix == "jsonl" else "custom_id,image,drags\n")
        file.writelines(text(number) for number in range(5_000))
    tracemalloc.start()
    try:
        assert sum(1 for _ in Manifest(path).lines()) == 5_000
        assert tracemalloc.get_traced_memory()[1] < 2**20 < path.stat().st_size
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"image": None}, "image: the name of a file"),
        ({"image": 3}, "image: the name of a file"),
        ({"imge": "a"}, "there is no field 'imge'"),
        ({"custom_id": None}, "custom_id: each line needs a name"),
        ({"custom_id": "x" * 129}, "custom_id: a text of 1 to 128"),
        ({"custom_id": "a\nb"}, "custom_id: it has characters"),
        ({"mask": {"circle": []}}, "mask: the name of a file"),
        ({"mask": 3}, "mask: the name of a file"),
        ({"drags": None}, "drags: they are needed"),
        ({"rounds": [DRAGS]}, "one of them, not both"),
        ({"drags": []}, "drags: a list of drags"),
        ({"drags": [3]}, "drags/0: {'handle'"),
        ({"drags": [{"handle": [1, 2]}]}, "drags/0/target: [x, y]"),
        ({"drags": [{"handle": [1, True], "target": [1, 2]}]}, "drags/0/handle"),
        ({"drags": None, "rounds": [DRAGS, []]}, "rounds/1: a list of drags"),
        ({"options": [1]}, "options: an object"),
        ({"priority": "urgent"}, "priority: 'urgent' is none of low, normal, high"),
    ],
)
def test_what_is_wrong_with_a_job_is_said(changes: dict[str, Any], said: str) -> None:
    job = {name: value for name, value in (a_line("a") | changes).items() if value is not None}
    found = list(wrong_with(job))
    assert len(found) == 1
    assert said in found[0]


def test_nothing_is_wrong_with_a_job_that_is_right() -> None:
    assert not list(wrong_with(a_line("a", mask={"rect": [1, 2, 3, 4]}, priority="low")))


@pytest.mark.parametrize(
    "name", ["../a.png", "/etc/a.png", "x/../../a.png", "C:\\a.png", "..\\a.png", "a\0.png", "."]
)
def test_a_name_that_leads_out_of_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    folder = Folder(pictures(tmp_path / "pictures", "a.png"))
    (tmp_path / "a.png").write_bytes((tmp_path / "pictures" / "a.png").read_bytes())
    with pytest.raises(ValueError, match="leads out"):
        folder.find(name)


def test_a_link_that_leads_out_is_followed_only_if_that_is_wanted(tmp_path: Path) -> None:
    root = pictures(tmp_path / "pictures", "a.png", "deep/b.png")
    outside = pictures(tmp_path / "elsewhere", "c.png")
    (root / "link.png").symlink_to(outside / "c.png")
    (root / "inside.png").symlink_to(root / "a.png")
    with pytest.raises(ValueError, match="by a link"):
        Folder(root).find("link.png")
    assert Folder(root, follows_links=True).find("link.png").exists()
    assert Folder(root).find("inside.png").exists()
    assert Folder(root).find("deep/b.png").exists()


def test_a_file_that_is_no_picture_is_refused(tmp_path: Path) -> None:
    root = pictures(tmp_path / "pictures", "a.png")
    (root / "text.png").write_text("hello")
    (root / "folder.png").mkdir()
    with (root / "large.png").open("wb") as file:
        file.truncate(33 * 2**20)
    for name, said in (
        ("text.png", "not a PNG"),
        ("none.png", "no file"),
        ("folder.png", "not a file"),
        ("large.png", "33 MiB"),
    ):
        with pytest.raises(ValueError, match=said):
            Folder(root).find(name)


@pytest.mark.parametrize(
    ("custom_id", "stem"),
    [
        ("photo-1", "photo-1"),
        ("a/b", "a_b"),
        ("../../etc/passwd", "_.._etc_passwd"),
        (".hidden", "hidden"),
        ("...", "_"),
        ("Müller 3", "Müller 3"),
        ("a:b*?\\c", "a_b_c"),
        ("con", "_con"),
        ("LPT1.x", "_LPT1.x"),
        ("😀", "_"),
    ],
)
def test_a_file_is_named_as_every_file_system_bears_it(custom_id: str, stem: str) -> None:
    assert stem_of(custom_id) == stem


def test_a_long_name_is_cut_where_a_character_ends() -> None:
    assert len(stem_of("ü" * 128).encode()) == 120


def test_the_suffix_is_the_format_and_several_candidates_are_numbered() -> None:
    assert names_of("a", {}) == ["a.png"]
    assert names_of("a", {"options": {"format": "jpeg"}}) == ["a.jpg"]
    assert names_of("a", {"options": {"candidates": 2, "format": "webp"}}) == [
        "a-0.webp",
        "a-1.webp",
    ]


@pytest.mark.parametrize("name", ["manifest.jsonl", "manifest.csv"])
def test_the_examples_are_right(name: str) -> None:
    folder = Folder(EXAMPLES / "photos")
    found = list(Manifest(EXAMPLES / name).lines())
    assert len(found) >= 3
    for line in found:
        assert not line.wrong
        assert not list(wrong_with(line.job))
        assert folder.find(line.job["image"])
