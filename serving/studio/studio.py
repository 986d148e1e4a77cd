"""Toonifying for the page with the package's own API: single pictures, and sessions for webcams and clips."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Event, Lock
from time import perf_counter

import numpy as np

from engines.contract.arrays import Codes, Pictures
from serving.code_files import codes_from_bytes
from serving.code_pictures import shown_by_codes
from serving.faces.alignment import Photo, crop, prealigned
from serving.faces.following import following
from serving.faces.images import bytes_from_picture, picture_from_bytes
from serving.faces.jpeg import jpeg_from_picture
from serving.faces.landmarks import Face, Landmarker
from serving.faces.photograph import placed_faces, toonified_crop, toonified_face, toonified_photograph
from serving.studio.controls import PageControls
from serving.studio.encoded_faces import EncodedFaces, FoundFaces
from serving.studio.refusal import Refusal
from serving.toonifier import SamplingToonifier
from serving.video.composing import FirstFace, Paste
from serving.video.prealigned import prealigned_landmarker
from serving.video.session import Smoothing, ToonSession

MAX_FRAME_PIXELS = 16 * 10**6
"""Largest webcam frames; browsers send 640x480 pixels."""


MAX_ENCODED_FACES = 8
"""Largest number of a picture's faces that follow a slider while it is moved."""


class Studio:
    """Toonifies pictures and makes sessions; threads may share one studio.

    The caller closes the toonifier. The landmarker must not depend on file names.
    """

    def __init__(self, toonifier: SamplingToonifier, landmarker: Landmarker) -> None:
        self._toonifier = toonifier
        self._lock = Lock()
        self._found_by = landmarker
        self._landmarker = self._locked(landmarker)

    def picture(self, data: bytes, controls: PageControls, cancel: Event) -> bytes:
        """Toonify a PNG, JPEG or WebP picture, and return a PNG; ``cancel`` ends the work after its current step.

        Raises:
            Refusal: ``cancel`` is set.
            RequestError: the picture cannot be decoded, or the toonifier refuses the controls.
            AlignmentError: no face is found, or one cannot be aligned.
            ServerError, EngineError: the toonifier fails.
        """
        _raise_if(cancel)
        photo = picture_from_bytes(data, "picture")
        toon = self._toonified(photo, controls, cancel)
        _raise_if(cancel)
        return bytes_from_picture(toon, ".png")

    def sample(self, controls: PageControls, cancel: Event) -> bytes:
        """Draw the random face of the seed ``controls.face``, edited as the controls say, and return a PNG.

        An edit keeps the attributes that the unedited picture shows, which is an aligned face.

        Raises:
            Refusal: ``cancel`` is set.
            RequestError: the generator has no mapping network, or the toonifier refuses the controls.
            ServerError, EngineError: the toonifier fails.
        """
        w = self._toonifier.sample_codes(controls.face, controls.style)
        return self._rendered(w, controls, cancel)

    def codes(self, data: bytes, controls: PageControls, cancel: Event) -> bytes:
        """Render the first code of a file of codes, edited as a random face is, and return a PNG.

        Raises:
            Refusal: ``cancel`` is set.
            RequestError: the file holds no codes, they do not fit the model, or the toonifier refuses the controls.
            ServerError, EngineError: the toonifier fails.
        """
        return self._rendered(codes_from_bytes(data, "codes")[:1], controls, cancel)

    def _rendered(self, w: Codes, controls: PageControls, cancel: Event) -> bytes:
        _raise_if(cancel)
        shown = shown_by_codes(self._toonifier, w, controls.style)
        _raise_if(cancel)
        (picture,) = self._toonifier.render(w, controls.style, shown)
        return bytes_from_picture(picture, ".png")

    def attributes(self, data: bytes, controls: PageControls, cancel: Event) -> list[float] | None:
        """Read which attributes the largest face of a picture shows, as probabilities; None without a classifier.

        Raises:
            Refusal: ``cancel`` is set.
            RequestError: the picture cannot be decoded.
            AlignmentError: no face is found, or it cannot be aligned.
            ServerError, EngineError: the toonifier fails.
        """
        _, found = self._found(data, controls, cancel)
        read = self._toonifier.read_attributes(found.crops[:1])
        return None if read is None else read[0].tolist()

    def encoded(self, data: bytes, controls: PageControls, cancel: Event) -> EncodedFaces:
        """Encode the faces of a picture that ``look`` shows, the largest of many, to be rendered several times.

        Raises:
            Refusal: ``cancel`` is set.
            RequestError: the picture cannot be decoded.
            AlignmentError: no face is found, or one cannot be aligned.
            ServerError, EngineError: the toonifier fails.
        """
        photo, found = self._found(data, controls, cancel, most=MAX_ENCODED_FACES if controls.look == "paste" else 1)
        return EncodedFaces(self._toonifier, found, photo if controls.look == "paste" else None)

    def sheet(self, data: bytes, controls: PageControls, r_swaps: Sequence[int], cancel: Event) -> bytes:
        """Make a PNG of the largest face of a picture by a live model at each r_swap; raises as ``encoded`` does."""
        _, found = self._found(data, controls, cancel)
        faces = EncodedFaces(self._toonifier, found, None)
        _raise_if(cancel)
        return bytes_from_picture(faces.sheet(controls.style, r_swaps), ".png")

    def _found(self, data: bytes, controls: PageControls, cancel: Event, *, most: int = 1) -> tuple[Photo, FoundFaces]:
        """Decode a picture and find its largest faces."""
        _raise_if(cancel)
        photo = picture_from_bytes(data, "picture")
        _raise_if(cancel)
        if controls.look == "aligned":
            face, placement = prealigned(photo, name="picture")
            return photo, FoundFaces((placement,), face[None])
        placed = placed_faces(self._landmarker(photo), "picture")[:most]
        _raise_if(cancel)
        placements = tuple(placement for _, placement in placed)
        return photo, FoundFaces(placements, np.stack([crop(photo, placement) for placement in placements]))

    def session(self, controls: PageControls, smoothing: Smoothing) -> ToonSession:
        """Make a session for a new stream."""
        return ToonSession(
            self._toonifier,
            prealigned_landmarker if controls.look == "aligned" else self._locked(following(self._found_by)),
            style=controls.style,
            composer=Paste() if controls.look == "paste" else FirstFace(),
            smoothing=smoothing,
        )

    def _toonified(self, photo: Photo, controls: PageControls, cancel: Event) -> Photo:
        def toonify(faces: Pictures) -> Pictures:
            _raise_if(cancel)
            return self._toonifier.toonify(faces, controls.style)

        _raise_if(cancel)
        if controls.look == "aligned":
            return toonified_crop(photo, toonify)
        if controls.look == "crop":
            return toonified_face(photo, self._landmarker(photo), toonify, name="picture")
        return toonified_photograph(photo, self._landmarker(photo), toonify, every_face=True, name="picture")

    def _locked(self, landmarker: Landmarker) -> Landmarker:
        """Return a landmarker that threads may share, with those that use the same models."""

        def find(photo: Photo, name: str = "") -> tuple[Face, ...]:
            with self._lock:
                return landmarker(photo, name)

        return find


class WebcamStream:
    """The stream of one webcam, smoothed without delay; one thread at a time may use it."""

    def __init__(self, studio: Studio, controls: PageControls) -> None:
        self._studio = studio
        self._start = perf_counter()
        self._look = controls.look
        self._session = studio.session(controls, "live")

    def choose(self, controls: PageControls) -> None:
        """Set the controls for the next frames; with another ``look`` a new stream begins."""
        if controls.look == self._look:
            self._session.style = controls.style
        else:
            self._look, self._session = controls.look, self._studio.session(controls, "live")

    def push(self, frame: bytes) -> tuple[bytes, int]:
        """Toonify the next frame, given as a picture file's bytes; return a JPEG and the number of faces in it.

        A frame without a face is no error.

        Raises:
            RequestError: the frame cannot be decoded, or the toonifier refuses the controls.
            AlignmentError: ``look`` is "aligned" and the frame is not square.
            ServerError, EngineError: the toonifier fails.
        """
        result = self._session.push(picture_from_bytes(frame, "frame", MAX_FRAME_PIXELS), perf_counter() - self._start)
        assert result, "a live session returns every frame at once"
        return jpeg_from_picture(result.pixels), len(result.faces)


def _raise_if(cancel: Event) -> None:
    if cancel.is_set():
        got, expected = "a sign to end the work on it", "a page that waits for it"
        raise Refusal(503, "picture", got=got, expected=expected, remedy="send it again")
