"""Frames come out of the socket as they went in, however it cuts them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lookout_server.decoding.frames import Frame, Inbox, Kind, framed

_PART = st.binary(max_size=40) | st.integers(0, 3).map(lambda n: bytes(n * 700_000))
_NUMBER = st.integers(0, 2**64 - 1)
_FRAME = st.builds(Frame, st.sampled_from(Kind), _PART, _PART, _PART, _NUMBER)
_FRAMES = st.lists(_FRAME, max_size=6)


@given(_FRAMES, st.lists(st.sampled_from([1, 7, 15, 16, 17, 60_000, 900_000, 3_000_000])))
def test_frames_are_whole_however_they_come(frames: list[Frame], cuts: list[int]) -> None:
    """Several at once, one in many pieces, and larger than the buffer that waits for them."""
    stream = b"".join(framed(*frame) for frame in frames)
    inbox, found, at = Inbox(), list[Frame](), 0
    sizes = iter(cuts)
    while at < len(stream):
        room = inbox.room()
        piece = stream[at : at + min(len(room), next(sizes, 2**20))]
        room[: len(piece)] = piece
        inbox.add(len(piece))
        at += len(piece)
        while (frame := inbox.take()) is not None:
            found.append(frame)
    assert found == frames
