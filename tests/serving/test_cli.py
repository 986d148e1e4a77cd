from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import cv2
import grpc
import numpy as np
import pytest
from fake_triton import FakeTriton, running, toonified
from toonify_command import Toonify
from tritonclient.grpc.service_pb2 import ModelInferRequest, ModelInferResponse

from export.demo_face import demo_face, demo_photograph
from serving import cli, doctor
from serving.faces.images import read_picture, write_picture
from serving.patience import Patience

PHOTO, POINTS = demo_photograph()


@pytest.fixture
def face(tmp_path: Path) -> Path:
    write_picture(tmp_path / "face.png", demo_face())
    return tmp_path / "face.png"


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    write_picture(tmp_path / "photo.png", PHOTO)
    record = {"picture": "photo.png", "faces": [{"points": POINTS.tolist()}]}
    (tmp_path / "landmarks.json").write_text(json.dumps([record]))
    return tmp_path / "photo.png"


def test_an_aligned_face_becomes_a_picture(toonify: Toonify, fake: FakeTriton, face: Path) -> None:
    output = face.with_name("toon.png")
    assert toonify("image", face, "-o", output, "--url", fake.url) == (0, f"{output}\n", "")
    np.testing.assert_array_equal(read_picture(output), toonified(demo_face()[None])[0])


def test_several_pictures_go_into_a_directory_under_their_names(
    toonify: Toonify, fake: FakeTriton, face: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.jpg"
    write_picture(other, demo_face()[:, ::-1])
    code, out, _ = toonify("image", face, other, "-o", tmp_path / "toons", "--url", fake.url)
    assert code == 0
    assert out.split() == [str(tmp_path / "toons" / name) for name in ("face.png", "other.jpg")]
    assert read_picture(tmp_path / "toons" / "other.jpg").shape == (512, 512, 3)


@pytest.fixture
def album(face: Path, tmp_path: Path) -> Path:
    """A folder of two faces, a damaged picture between them, one of a format that is not read, and another file."""
    folder = tmp_path / "album"
    folder.mkdir()
    for name in ("a.png", "c.JPG"):
        write_picture(folder / name, demo_face())
    (folder / "b.webp").write_bytes(face.read_bytes()[:100])
    (folder / "d.heic").write_bytes(bytes(4) + b"ftypheic" + bytes(40))
    (folder / "notes.txt").write_text("not looked at")
    return folder


@pytest.mark.parametrize("in_flight", [1, 4])
def test_a_folder_is_gone_through_whole_and_a_second_call_does_the_rest(
    toonify: Toonify, fake: FakeTriton, album: Path, face: Path, tmp_path: Path, in_flight: int
) -> None:
    command = ("image", album, "-o", tmp_path / "toons", "--url", fake.url, "--in-flight", in_flight)
    code, out, err = toonify(*command)
    assert code == 1
    assert out.split() == [str(tmp_path / "toons" / name) for name in ("a.png", "c.JPG")]
    damaged, not_read = err.splitlines()
    assert damaged.startswith(f"error: {album / 'b.webp'}: got ")
    assert not_read.startswith(f"error: {album / 'd.heic'}: got ")
    assert sorted(path.name for path in (tmp_path / "toons").iterdir()) == ["a.png", "c.JPG"]
    write_picture(album / "b.webp", demo_face(), force=True)
    (album / "d.heic").unlink()
    code, out, err = toonify(*command)
    assert (code, out) == (0, f"{tmp_path / 'toons' / 'b.webp'}\n")
    assert [line.split()[:2] for line in err.splitlines()] == [
        ["skipped:", str(tmp_path / "toons" / name)] for name in ("a.png", "c.JPG")
    ]
    assert len(fake.requests) == 3
    assert toonify(*command, "--force")[0] == 0
    assert len(fake.requests) == 6


def test_machines_share_pictures_and_programs_read_what_each_does(
    toonify: Toonify, fake: FakeTriton, album: Path, tmp_path: Path
) -> None:
    done = []
    for share in ("1/3", "2/3", "3/3"):
        options = ("--url", fake.url, "--shard", share, "--progress", "json")
        _, out, _ = toonify("image", album, "-o", tmp_path / "toons", *options)
        events = [json.loads(line) for line in out.splitlines()]
        done.append([(event["event"], Path(event["target"]).name) for event in events])
    assert done == [
        [("begun", "b.webp"), ("failed", "b.webp"), ("begun", "d.png"), ("failed", "d.png")],
        [("begun", "c.JPG"), ("finished", "c.JPG")],
        [("begun", "a.png"), ("finished", "a.png")],
    ]


def test_a_share_that_is_none_is_wrong_usage(toonify: Toonify, album: Path, tmp_path: Path) -> None:
    for share in ("0/3", "JOB_COMPLETION_INDEX/3"):
        code, _, err = toonify("image", album, "-o", tmp_path / "toons", "--shard", share)
        assert code == 2
        assert "--shard" in err


def test_a_share_without_files_is_done_and_asks_no_server(toonify: Toonify, album: Path, tmp_path: Path) -> None:
    options = ("-o", tmp_path / "toons", "--url", "127.0.0.1:1", "--shard", "1/100")
    assert toonify("image", album, *options) == (0, "", "")
    assert not (tmp_path / "toons").exists()


def test_files_that_appear_while_machines_work_cost_none_of_the_others(
    toonify: Toonify, fake: FakeTriton, face: Path, tmp_path: Path
) -> None:
    album, toons = tmp_path / "album", tmp_path / "toons"
    album.mkdir()
    for number in range(8):
        (album / f"{number}.png").write_bytes(face.read_bytes())
    options = ("-o", toons, "--url", fake.url, "--shard")
    assert toonify("image", album, *options, "1/2")[0] == 0
    (album / "00.png").write_bytes(face.read_bytes())
    assert toonify("image", album, *options, "2/2")[0] == 0
    assert {f"{number}.png" for number in range(8)} <= {path.name for path in toons.iterdir()}
    assert len(fake.requests) == len([*toons.iterdir()])


class Restarted(FakeTriton):
    """A server that refuses two requests after its first answer."""

    def ModelInfer(self, request: ModelInferRequest, context: grpc.ServicerContext) -> ModelInferResponse:
        if self.requests and len(self.metadata) < 3:
            self.failures.append((grpc.StatusCode.INTERNAL, "about to stop"))
        return super().ModelInfer(request, context)


@pytest.mark.parametrize("options", [[], ["--progress", "json"]])
def test_a_server_that_is_away_for_a_while_costs_no_picture(
    toonify: Toonify, monkeypatch: pytest.MonkeyPatch, face: Path, tmp_path: Path, options: list[str]
) -> None:
    monkeypatch.setattr("serving.image_cli.Patience", partial(Patience, first_pause=0.01))
    faces = [face.with_name(f"{number}.png") for number in range(3)]
    for path in faces:
        path.write_bytes(face.read_bytes())
    with running(Restarted()) as server:
        code, out, err = toonify("image", *faces, "-o", tmp_path / "toons", "--url", server.url, *options)
    assert code == 0
    assert len(server.requests) == 3
    waiting = tmp_path / "toons" / "1.png"
    if options:
        events = [(event["event"], event["target"]) for event in map(json.loads, out.splitlines())]
        assert events.count(("waiting", str(waiting))) == 1
    else:
        assert err.startswith(f"waiting: {waiting} is tried again as soon as a server answers; server at ")
        assert err.count("\n") == 1


@pytest.mark.parametrize("options", [[], ["--progress", "json"]])
def test_without_a_server_a_folder_is_given_up_at_once(
    toonify: Toonify, face: Path, tmp_path: Path, options: list[str]
) -> None:
    faces = [face.with_name(f"{number}.png") for number in range(5)]
    for path in faces:
        path.write_bytes(face.read_bytes())
    command = ("-o", tmp_path / "toons", "--url", "127.0.0.1:1", "--timeout", 0.2)
    code, out, err = toonify("image", *faces, *command, *options)
    assert code == 75
    if options:
        events = [json.loads(line) for line in out.splitlines()]
        assert [event["event"] for event in events] == [*["begun", "failed"] * 3, "stopped"]
        assert events[-1] == {"event": "stopped", "left": 2}
    else:
        *errors, stopped = err.splitlines()
        assert len(errors) == 3
        assert stopped == "stopped: no server answers, and 2 were not begun; give the same command again later"


def test_a_bar_counts_the_pictures(toonify: Toonify, fake: FakeTriton, album: Path, tmp_path: Path) -> None:
    options = ("--url", fake.url, "--progress", "bar")
    code, out, err = toonify("image", album, "-o", tmp_path / "toons", *options)
    assert code == 1
    assert out.split() == [str(tmp_path / "toons" / name) for name in ("a.png", "c.JPG")]
    assert "4/4" in err
    assert err.count("error: ") == 2


def test_a_folder_is_never_its_own_output_unless_that_is_asked_for(
    toonify: Toonify, fake: FakeTriton, album: Path, tmp_path: Path
) -> None:
    code, _, err = toonify("image", album, "-o", album, "--url", fake.url)
    assert code == 1
    assert "a.png: got one of the inputs, expected another file" in err
    (tmp_path / "empty").mkdir()
    code, _, err = toonify("image", tmp_path / "empty", "-o", tmp_path / "toons", "--url", fake.url)
    assert err.startswith(f"error: {tmp_path / 'empty'}: got no picture in it, expected at least one")
    assert not fake.requests


def test_names_that_are_too_long_or_not_utf_8_do_not_stop_the_others(
    toonify: Toonify, fake: FakeTriton, face: Path, tmp_path: Path
) -> None:
    names = [os.fsdecode(b"\xff.png"), "a" * 253, "b.png"]  # the second one gets a suffix, and is too long then
    folder = tmp_path / "album"
    folder.mkdir()
    for name in names:
        (folder / name).write_bytes(face.read_bytes())
    inputs = [folder / name for name in names]
    options = ("-o", tmp_path / "toons", "--url", fake.url, "--progress", "json")
    code, out, _ = toonify("image", *inputs, *options)
    assert code == 1
    assert sorted(path.name for path in (tmp_path / "toons").iterdir()) == sorted([names[2], names[0]])
    ends = [event for event in map(json.loads, out.splitlines()) if event["event"] != "begun"]
    assert [event["event"] for event in ends] == ["finished", "failed", "finished"]
    assert ends[0]["target"] == str(tmp_path / "toons" / names[0])
    assert "got a name that is too long for its folder" in ends[1]["error"]


@pytest.mark.parametrize("place", ["input", "output"])
def test_a_path_that_is_too_long_to_be_looked_at_is_one_sentence(
    toonify: Toonify, fake: FakeTriton, face: Path, place: str
) -> None:
    long = face.with_name("a" * 300)
    source, target = (long, face.with_name("toon.png")) if place == "input" else (face, long)
    code, _, err = toonify("image", source, "-o", target, "--url", fake.url)
    assert code == 1
    assert err.startswith(f"error: {long}: got ")
    assert "too long" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("wire", [[], ["--jpeg"]])
def test_options_become_controls(toonify: Toonify, fake: FakeTriton, face: Path, wire: list[str]) -> None:
    options = ["--attribute", "age=1", "--attribute", "gender=0.5", "--rows", "preset", "--seed", "7", "--psi", "0.7"]
    options += ["--keep", "glasses=1,expression=0"]
    assert toonify("image", face, "-o", face.with_name("toon.png"), "--url", fake.url, *options, *wire)[0] == 0
    (request,) = fake.requests
    np.testing.assert_array_equal(request["attributes"], [[0.5, 1, 1, 0]])
    np.testing.assert_array_equal(request["row_strength"], [[1] * 8 + [0] * 8])
    assert request["seed"] == 7
    assert request["psi"] == np.float32(0.7)
    assert ("jpeg" in request) == bool(wire)


def test_an_exact_edit_sets_all_other_attributes_to_zero(toonify: Toonify, fake: FakeTriton, face: Path) -> None:
    options = ["--url", fake.url, "--attribute", "age=1", "--exact"]
    assert toonify("image", face, "-o", face.with_name("toon.png"), *options)[0] == 0
    np.testing.assert_array_equal(fake.requests[0]["attributes"], [[0, 0, 1, 0]])


def test_jpeg_on_the_wire_gives_nearly_the_same_picture(toonify: Toonify, fake: FakeTriton, face: Path) -> None:
    output = face.with_name("toon.png")
    assert toonify("image", face, "-o", output, "--url", fake.url, "--jpeg")[0] == 0
    # The fake server returns the JPEG unchanged; measured 1.16.
    assert np.abs(read_picture(output).astype(int) - demo_face()).mean() < 1.5


@pytest.mark.parametrize("align", ["haar", "file:{folder}/landmarks.json"])
def test_the_face_of_a_photograph_is_pasted_back(toonify: Toonify, fake: FakeTriton, photo: Path, align: str) -> None:
    output = photo.with_name("toon.png")
    options = ["--url", fake.url, "--align", align.format(folder=photo.parent)]
    assert toonify("image", photo, "-o", output, *options)[0] == 0
    (request,) = fake.requests
    assert request["face"].shape == (1, 256, 256, 3)
    result = read_picture(output)
    assert result.shape == PHOTO.shape
    assert np.abs(result.astype(int) - PHOTO).mean() < 1  # the fake server changes only the size
    assert (result[:50] == PHOTO[:50]).all()


def test_without_align_a_photograph_is_searched_and_what_is_lacking_is_one_line(
    toonify: Toonify, fake: FakeTriton, photo: Path
) -> None:
    output = photo.with_name("toon.png")
    code, out, err = toonify("image", photo, "-o", output, "--url", fake.url)
    assert (code, out) == (0, f"{output}\n")
    assert err.count("\n") == 1
    assert all(part in err for part in ("face_detection_yunet_2023mar.onnx", "toonify models get", "Haar cascades"))
    assert read_picture(output).shape == PHOTO.shape
    assert len(fake.requests) == 1


@pytest.mark.parametrize("side", [256, 600, 1024])
def test_without_align_an_aligned_square_is_taken_as_it_is(
    toonify: Toonify, fake: FakeTriton, tmp_path: Path, side: int
) -> None:
    square = cv2.resize(demo_face(), (side, side), interpolation=cv2.INTER_CUBIC).astype(np.uint8)
    write_picture(tmp_path / "face.png", square)
    results = []
    for align in ("auto", "none"):
        output = tmp_path / f"{align}.png"
        code, _, err = toonify("image", tmp_path / "face.png", "-o", output, "--url", fake.url, "--align", align)
        assert code == 0
        assert ("Haar" in err) == (align == "auto" and side != 256)  # the encoder's own size needs no search
        results.append(read_picture(output))
    np.testing.assert_array_equal(*results)


def test_without_align_a_square_photograph_is_searched(toonify: Toonify, fake: FakeTriton, tmp_path: Path) -> None:
    square = cv2.copyMakeBorder(PHOTO, 80, 80, 0, 0, cv2.BORDER_CONSTANT, value=(90, 120, 90)).astype(np.uint8)
    write_picture(tmp_path / "square.png", square)
    output = tmp_path / "toon.png"
    assert toonify("image", tmp_path / "square.png", "-o", output, "--url", fake.url)[0] == 0
    result = read_picture(output)
    assert result.shape == square.shape
    assert (result[:100] == square[:100]).all()


def test_a_photographs_face_may_be_kept_apart(toonify: Toonify, fake: FakeTriton, photo: Path) -> None:
    output = photo.with_name("toon.png")
    assert toonify("image", photo, "-o", output, "--url", fake.url, "--align", "haar", "--no-paste")[0] == 0
    assert read_picture(output).shape == (512, 512, 3)


def test_all_faces_of_a_photograph_travel_in_one_request(toonify: Toonify, fake: FakeTriton, photo: Path) -> None:
    file = photo.with_name("landmarks.json")
    faces = [{"points": (POINTS + shift).tolist()} for shift in (0, 60)]
    file.write_text(json.dumps([{"picture": "photo.png", "faces": faces}]))
    options = ["--url", fake.url, "--align", f"file:{file}", "--faces", "all"]
    assert toonify("image", photo, "-o", photo.with_name("toon.png"), *options)[0] == 0
    assert [len(request["face"]) for request in fake.requests] == [2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--align", "none"],
            "photo.png: got 640x480 pixels, expected the square picture of an aligned face; give --align",
        ),
        (["--align", "dlib"], "landmarks: got 'dlib', expected none, auto, auto:FOLDER, haar, yunet"),
        (["--align", "yunet:nowhere.onnx"], "nowhere.onnx: got no such file, expected a YuNet model"),
        (["--attribute", "smile=1", "--align", "haar"], "attribute 'smile': got no attribute of the model"),
        (
            ["--attribute", "age=1", "--align", "haar"],
            "got NaN, which keeps what the face shows, expected a number for",
        ),
        (["--attribute", "age=1", "--keep", "smile=1", "--align", "haar"], "attribute 'smile': got no attribute"),
        (["--model", "nobody", "--align", "haar"], "unknown model: 'nobody' is not found"),
    ],
)
def test_a_persons_mistake_is_one_line_and_exit_code_1(
    toonify: Toonify, fake: FakeTriton, photo: Path, options: list[str], message: str
) -> None:
    output = photo.with_name("toon.png")
    code, out, err = toonify("image", photo, "-o", output, "--url", fake.url, *options)
    assert (code, out) == (1, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert message in err
    assert not output.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--url", "127.0.0.1:8001", "--encoder", "e", "--generator", "g"], "got --url and model directories"),
        (["--encoder", "e"], "got only some of the model directories"),
        (["--encoder", "e", "--generator", "g", "--jpeg"], "JPEG on the wire: got models in this process"),
    ],
)
def test_a_server_and_models_in_this_process_are_not_mixed(
    toonify: Toonify, face: Path, options: list[str], message: str
) -> None:
    code, out, err = toonify("image", face, "-o", face.with_name("toon.png"), *options)
    assert (code, out) == (1, "")
    assert message in err


def test_a_photograph_without_a_face_is_named(toonify: Toonify, fake: FakeTriton, tmp_path: Path) -> None:
    write_picture(tmp_path / "wall.png", np.full((300, 300, 3), 128, np.uint8))
    code, _, err = toonify(
        "image", tmp_path / "wall.png", "-o", tmp_path / "o.png", "--url", fake.url, "--align", "haar"
    )
    assert code == 1
    assert err.startswith(f"error: {tmp_path / 'wall.png'}: got no face, expected at least one")


def test_a_blend_of_a_model_that_is_not_live_is_refused_by_name(toonify: Toonify, fake: FakeTriton, face: Path) -> None:
    code, _, err = toonify("image", face, "-o", face.with_name("toon.png"), "--url", fake.url, "--r-swap", "32")
    assert (code, fake.requests) == (1, [])
    assert err == (
        "error: control 'r_swap': got the model 'toonify', whose blend is fixed, expected a live model, which "
        "toonify-export blend --live makes; leave it out or choose another model.\n"
    )


@pytest.mark.parametrize(
    "options",
    [
        ["--attribute", "age"],
        ["--attribute", "age=old"],
        ["--rows", "preset"],
        ["--exact"],
        ["--strength", "0.5"],
        ["--keep", "age=1"],
        ["--keep", "age", "--attribute", "glasses=1"],
        ["--keep", "age=1", "--attribute", "glasses=1", "--exact"],
        ["--faces", "all", "--align", "none"],
        ["--faces", "all", "--align", "haar", "--no-paste"],
        ["--seed", "-1"],
        ["--seed", "0"],
        ["--rows", "some"],
        ["--alpha", "1.5"],
        ["--r-swap", "soft"],
    ],
)
def test_wrong_usage_is_exit_code_2(toonify: Toonify, face: Path, options: list[str]) -> None:
    code, _, err = toonify("image", face, "-o", face.with_name("toon.png"), *options)
    assert code == 2
    assert any(option in err for option in options[::2])


def test_outputs_that_cannot_be_written_are_refused_before_any_work(
    toonify: Toonify, fake: FakeTriton, face: Path, tmp_path: Path
) -> None:
    def error(*arguments: object) -> str:
        code, _, err = toonify("image", *arguments, "--url", fake.url)
        assert code == 1
        return err

    (tmp_path / "toon.png").write_bytes(b"mine")
    assert "toon.png: got an output that is already there" in error(face, "-o", tmp_path / "toon.png")
    assert "face.png: got one of the inputs" in error(face, "-o", face)
    assert "toon.gif: got the suffix '.gif'" in error(face, "-o", tmp_path / "toon.gif")
    assert "face.png: got two pictures of that name" in error(face, face, "-o", tmp_path / "toons")
    assert not fake.requests
    assert toonify("image", face, "-o", face, "--url", fake.url, "--force")[0] == 0


def test_serve_names_a_repository_that_is_none(toonify: Toonify, tmp_path: Path) -> None:
    code, _, err = toonify("serve", "--repository", tmp_path)
    assert code == 1
    assert "got no folder with model configurations, expected a model repository" in err


def test_the_doctor_lists_what_is_there(toonify: Toonify, fake: FakeTriton, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    code, out, _ = toonify("doctor", "--url", fake.url)
    assert code == 0
    assert "toonify, 512 pixels, attributes: gender, glasses, age, expression" in out
    assert "landmarks by Haar cascades" in out


def test_the_doctors_findings_are_json_on_request(toonify: Toonify, fake: FakeTriton) -> None:
    code, out, _ = toonify("doctor", "--url", fake.url, "--json")
    assert code == 0
    findings = {finding["subject"]: finding for finding in json.loads(out)}
    assert findings["numpy"]["found"] == np.__version__
    assert findings["a way to a picture"]["found"] == "yes"


@pytest.mark.parametrize("program", ["toonify", "toonify-export"])
def test_a_shell_can_complete_the_commands(program: str) -> None:
    package = "export" if program == "toonify-export" else "serving"
    code = f"import sys; sys.argv[:] = ['{program}']; from {package}.start import main; main()"
    variable = f"_{program.upper().replace('-', '_')}_COMPLETE"
    environment = {variable: "complete_bash", "COMP_WORDS": f"{program} ", "COMP_CWORD": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | environment, capture_output=True, text=True, check=True
    )
    assert {"image", "blend"} & {*done.stdout.split()}


def test_the_doctor_fails_where_no_picture_can_be_made(toonify: Toonify, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")  # outside a terminal no command is broken
    monkeypatch.setattr(doctor, "find_spec", lambda name: None)
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    code, out, _ = toonify("doctor", "--url", "127.0.0.1:9")
    assert code == 1
    assert "pip install 'toonify-serve[server,cpu]'" in out


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.doctor.findings", lambda *arguments: 1 / 0)
    monkeypatch.setattr("sys.argv", ["toonify", "doctor"])
    with pytest.raises(ZeroDivisionError):
        cli.main()
