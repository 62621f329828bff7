from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest

from i2i.errors import DataError, UsageError
from i2i.inference.translation.planning import Plan, folders_for_results, plan_translation, prepare_folders
from tests.inference.models import paint


def targets(folder: Path, *arguments: object, **options: object) -> dict[str, str]:
    """Sources to destinations of a plan, relative to `folder`."""
    plan = plan_translation(*arguments, **options)  # type: ignore[arg-type]
    return {str(job.source.relative_to(folder)): str(job.destination.relative_to(folder)) for job in plan.jobs}


def test_a_folder_goes_to_its_neighbour_and_keeps_its_structure(tmp_path: Path) -> None:
    for name in ("in/b.jpg", "in/sub/deep/a.png", "in/sub/a.TIF", "in/c.bmp", "in/d.jpeg"):
        paint(tmp_path / name)
    assert targets(tmp_path, [tmp_path / "in"]) == {
        "in/b.jpg": "in_translated/b.jpg",
        "in/c.bmp": "in_translated/c.png",
        "in/d.jpeg": "in_translated/d.jpeg",
        "in/sub/a.TIF": "in_translated/sub/a.TIF",
        "in/sub/deep/a.png": "in_translated/sub/deep/a.png",
    }


def test_junk_in_a_folder_is_passed_over(tmp_path: Path) -> None:
    paint(tmp_path / "in/a.png")
    paint(tmp_path / "in/.hidden/x.png")
    for name in ("notes.txt", "Thumbs.db", "._a.png", ".DS_Store", "model.safetensors"):
        (tmp_path / "in" / name).write_bytes(b"junk")
    assert targets(tmp_path, [tmp_path / "in"]) == {"in/a.png": "in_translated/a.png"}


def test_a_run_among_the_inputs_is_a_slip(tmp_path: Path) -> None:
    """`--model runs/a-*` with two such runs: the shell makes the second one an input."""
    run = tmp_path / "runs" / "a-2"
    paint(run / "samples" / "1.png")
    (run / "recipe.yaml").write_text("name: a")
    (run / "checkpoints").mkdir()
    with pytest.raises(UsageError, match="a-2: is a run, and no folder of pictures - name one model with --model"):
        plan_translation([run], tmp_path / "out")
    assert len(plan_translation([run / "samples"], tmp_path / "out").jobs) == 1


def test_a_format_changes_only_the_suffix_of_other_formats(tmp_path: Path) -> None:
    paint(tmp_path / "in/a.png")
    paint(tmp_path / "in/b.jpeg")
    assert targets(tmp_path, [tmp_path / "in"], tmp_path / "out", "jpg") == {
        "in/a.png": "out/a.jpg",
        "in/b.jpeg": "out/b.jpeg",
    }


def test_one_file_several_files_and_a_pattern(tmp_path: Path) -> None:
    for name in ("in/a.png", "in/b.png", "in/sub/c.png", "in/sub/d.jpg"):
        paint(tmp_path / name)
    (tmp_path / "in/junk.txt").touch()
    assert targets(tmp_path, [tmp_path / "in/a.png"]) == {"in/a.png": "in/a_translated/a.png"}
    together = {"in/a.png": "in_translated/a.png", "in/b.png": "in_translated/b.png"}
    assert targets(tmp_path, [tmp_path / "in/a.png", tmp_path / "in/b.png"]) == together
    assert targets(tmp_path, [f"{tmp_path}/in/*"]) == together
    assert targets(tmp_path, [f"{tmp_path}/in/**/*.png"]) == together | {"in/sub/c.png": "in_translated/sub/c.png"}
    assert targets(tmp_path, [f"{tmp_path}/*/a.png"], tmp_path / "out") == {"in/a.png": "out/in/a.png"}


def test_the_folder_one_stands_in_has_a_name_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paint(tmp_path / "in/a.png")
    monkeypatch.chdir(tmp_path / "in")
    assert plan_translation(["."]).jobs[0].destination == tmp_path / "in_translated" / "a.png"
    assert plan_translation(["a.png", "./a.png"]).jobs[0].destination == tmp_path / "in_translated" / "a.png"


def test_brackets_in_a_name_are_no_pattern(tmp_path: Path) -> None:
    paint(tmp_path / "in/a[1].png")
    assert targets(tmp_path, [tmp_path / "in/a[1].png"], tmp_path / "out") == {"in/a[1].png": "out/a[1].png"}


def test_results_inside_the_input_are_not_taken_for_inputs(tmp_path: Path) -> None:
    paint(tmp_path / "in/a.png")
    paint(tmp_path / "in/out/a.png")
    assert targets(tmp_path, [tmp_path / "in"], tmp_path / "in/out") == {"in/a.png": "in/out/a.png"}
    assert targets(tmp_path, [f"{tmp_path}/in/**/*.png"], tmp_path / "in/out") == {"in/a.png": "in/out/a.png"}


def test_two_inputs_of_one_name_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    paint(tmp_path / "x/a.png")
    paint(tmp_path / "y/a.png")
    with pytest.raises(UsageError, match=r"x/a\.png and .*y/a\.png would both be written to .*out/a\.png"):
        plan_translation([tmp_path / "x", tmp_path / "y"], tmp_path / "out")
    paint(tmp_path / "x/a.jpg")
    with pytest.raises(UsageError, match="both be written"):
        plan_translation([tmp_path / "x"], tmp_path / "out", "png")
    assert not (tmp_path / "out").exists()


def test_the_same_picture_given_twice_is_done_once(tmp_path: Path) -> None:
    picture = paint(tmp_path / "in/a.png")
    assert len(plan_translation([picture, tmp_path / "in", picture], tmp_path / "out").jobs) == 1


def test_inputs_are_never_overwritten(tmp_path: Path) -> None:
    picture = paint(tmp_path / "in/a.png")
    other = paint(tmp_path / "in/out/b.png")
    for inputs, out in (
        ([tmp_path / "in"], tmp_path / "in"),
        ([picture], tmp_path / "in"),
        ([picture, other], tmp_path / "in/out"),
        ([other, picture], tmp_path / "in/out"),
    ):
        with pytest.raises(UsageError, match="choose another folder"):
            plan_translation(inputs, out)
    with pytest.raises(UsageError, match="choose another folder"):
        plan_translation([tmp_path / "in"], tmp_path / "in", "jpg")


def test_missing_inputs_are_listed_and_the_others_planned(tmp_path: Path) -> None:
    paint(tmp_path / "in/a.png")
    plan = plan_translation([tmp_path / "in", tmp_path / "nothing.png", f"{tmp_path}/*.jpg"], tmp_path / "out")
    assert len(plan.jobs) == 1
    assert [outcome.status for outcome in plan.missing] == ["failed", "failed"]
    assert "nothing.png: no such file" in plan.missing[0].message
    alone = plan_translation([tmp_path / "in", tmp_path / "nothing" / "x.png"])
    assert alone.folders == (tmp_path / "in_translated",), "no folder is made for what is not there"
    with pytest.raises(UsageError, match="say where with -o"):
        plan_translation(["/"])


def test_only_missing_inputs_are_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^nothing\.png: no such file or folder - check the spelling$"):
        plan_translation(["nothing.png"], tmp_path / "out")
    with pytest.raises(DataError, match=r"a: no such.*; b: no such.*; c: no such[^;]*; and 1 more$"):
        plan_translation(["a", "b", "c", "d"])


def test_a_direction_is_part_of_the_default_folder_alone(tmp_path: Path) -> None:
    paint(tmp_path / "in/a.png")
    paint(tmp_path / "in/b.png")
    assert targets(tmp_path, [tmp_path / "in/a.png"], direction="BtoA") == {"in/a.png": "in/a_BtoA_translated/a.png"}
    both = {"in/a.png": "in_BtoA_translated/a.png", "in/b.png": "in_BtoA_translated/b.png"}
    assert targets(tmp_path, [tmp_path / "in"], direction="BtoA") == both
    assert targets(tmp_path, [f"{tmp_path}/in/*"], direction="BtoA") == both
    assert targets(tmp_path, [tmp_path / "in/a.png"], tmp_path / "out", direction="BtoA") == {"in/a.png": "out/a.png"}
    paint(tmp_path / "in/b_BtoA_translated/b.png")
    assert targets(tmp_path, [tmp_path / "in"], direction="BtoA") == both, "earlier results are no input"


def test_one_picture_may_be_given_the_name_of_its_result(tmp_path: Path) -> None:
    picture = paint(tmp_path / "in/a.png")
    plan = plan_translation([picture], tmp_path / "out" / "b.JPG")
    assert [(job.source, job.destination, job.format) for job in plan.jobs] == [
        (picture, tmp_path / "out" / "b.JPG", "jpg")
    ]
    assert plan.folders == (tmp_path / "out",)
    assert targets(tmp_path, [picture], tmp_path / "b.tiff", "tiff") == {"in/a.png": "b.tiff"}
    # A folder stays a folder, whatever it is called.
    (tmp_path / "c.png").mkdir()
    assert targets(tmp_path, [picture], tmp_path / "c.png") == {"in/a.png": "c.png/a.png"}
    for inputs in ([picture, picture], [tmp_path / "in"], [f"{tmp_path}/in/*.png"]):
        with pytest.raises(UsageError, match=r"x\.png: names one picture, and the input may be several"):
            plan_translation(inputs, tmp_path / "x.png")
    with pytest.raises(UsageError, match=r"\.bmp is only read, not written"):
        plan_translation([picture], tmp_path / "x.bmp")
    with pytest.raises(UsageError, match=r"x\.png and --format jpg contradict each other"):
        plan_translation([picture], tmp_path / "x.png", "jpg")
    with pytest.raises(UsageError, match="an input would be overwritten"):
        plan_translation([picture], picture)
    with pytest.raises(DataError, match="no such file"):
        plan_translation([tmp_path / "nothing.png"], tmp_path / "x.png")


def test_a_folder_without_pictures_is_a_data_error(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(DataError, match="no pictures found"):
        plan_translation([tmp_path])


def test_output_folders_are_made_or_refused_at_once(tmp_path: Path) -> None:
    plan = plan_translation([paint(tmp_path / "in/a.png")], tmp_path / "deep" / "out")
    prepare_folders(plan)
    assert (tmp_path / "deep" / "out").is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="is a file, and its name is no picture's"):
        prepare_folders(plan_translation([tmp_path / "in"], tmp_path / "file"))


@pytest.mark.parametrize("failing", [False, True])
def test_a_folder_that_got_no_result_is_gone_again_whatever_happened(tmp_path: Path, failing: bool) -> None:
    there = tmp_path / "there"
    there.mkdir()
    for folder in (there, tmp_path / "new" / "deep", tmp_path / "used", tmp_path / "shared"):
        plan = plan_translation([paint(tmp_path / "in/a.png")], folder)
        with contextlib.suppress(KeyboardInterrupt), folders_for_results(plan, shared=folder.name == "shared"):
            assert folder.is_dir()
            if folder.name == "used":
                paint(folder / "a.png")
            if failing:
                raise KeyboardInterrupt
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "shared", "there", "used"]


def test_where_one_folder_cannot_be_made_the_others_are_gone_again(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    plan = Plan((), (), (tmp_path / "new", tmp_path / "file"))
    with pytest.raises(UsageError, match="is a file"), folders_for_results(plan):
        raise AssertionError("nothing is begun")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_an_unreadable_folder_is_listed(tmp_path: Path) -> None:
    paint(tmp_path / "in/a.png")
    closed = tmp_path / "in/closed"
    closed.mkdir()
    closed.chmod(0)
    try:
        if os.access(closed, os.R_OK):
            pytest.skip("this user may read everything")
        plan = plan_translation([tmp_path / "in"], tmp_path / "out")
    finally:
        closed.chmod(0o755)
    assert len(plan.jobs) == 1
    assert "cannot be listed" in plan.missing[0].message


# Videos


def test_videos_are_taken_where_they_are_named_and_kept_in_containers_that_hold_them(tmp_path: Path) -> None:
    for name in ("in/a.png", "in/b.MP4", "c.webm"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    plan = plan_translation([tmp_path / "in", tmp_path / "in/b.MP4", tmp_path / "c.webm"], tmp_path / "out", "jpg")
    assert [job.destination.name for job in plan.jobs] == ["a.jpg"], "in folders only pictures are looked for"
    assert [job.destination.name for job in plan.videos] == ["b.MP4", "c.mkv"]
    assert {job.results for job in (*plan.jobs, *plan.videos)} == {tmp_path / "out"}
    alone = plan_translation([tmp_path / "in/b.MP4"], tmp_path / "new.mkv")
    assert [(job.source, job.destination) for job in alone.videos] == [(tmp_path / "in/b.MP4", tmp_path / "new.mkv")]
    with pytest.raises(UsageError, match=r"x\.png: .*b\.MP4 is a video and this names a picture"):
        plan_translation([tmp_path / "in/b.MP4"], tmp_path / "x.png")
    with pytest.raises(UsageError, match=r"x\.mp4: .*a\.png is a picture and this names a video"):
        plan_translation([tmp_path / "in/a.png"], tmp_path / "x.mp4")
    with pytest.raises(UsageError, match="an input would be overwritten"):
        plan_translation([tmp_path / "c.webm"], tmp_path / "c.webm")
    with pytest.raises(UsageError, match="names one video, and the input may be several"):
        plan_translation([tmp_path / "in"], tmp_path / "x.mp4")


def test_results_know_the_folder_that_they_lie_in(tmp_path: Path) -> None:
    paint(tmp_path / "in/sub/a.png")
    (job,) = plan_translation([tmp_path / "in"]).jobs
    assert (job.destination, job.results) == (tmp_path / "in_translated/sub/a.png", tmp_path / "in_translated")
    (job,) = plan_translation([tmp_path / "in/sub/a.png"], tmp_path / "b.jpg").jobs
    assert job.results == tmp_path
