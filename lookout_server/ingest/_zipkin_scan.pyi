from collections.abc import Callable

class Scanner:
    def __new__(cls, nothing: int, /) -> Scanner: ...
    def scan(
        self, body: bytes, codes_of: Callable[[int, bytes], tuple[int, int] | None], /
    ) -> tuple[bytes, bytes, bytes, bytes, bytes] | None: ...
