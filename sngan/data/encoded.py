"""Picture files that lie in other files: databases, tables, archives."""

from __future__ import annotations

import hashlib
import io
from abc import abstractmethod
from collections.abc import Sequence

from torch import Tensor
from tqdm import tqdm

from sngan.data.decoding import Form, read_picture
from sngan.data.images import Images
from sngan.errors import UserError


class EncodedImages(Images):
    """Pictures, decoded to a form when they are asked for; `labels` are class numbers, None where there are none."""

    def __init__(self, n: int, form: Form, labels: Sequence[int] | None = None):
        self.n, self.form, self.labels = n, form, labels

    @abstractmethod
    def content(self, index: int) -> bytes:
        """The file of a picture."""

    @abstractmethod
    def title(self, index: int) -> str:
        """What messages call it."""

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Raises `UserError` that names the picture when it cannot be decoded."""
        try:
            return read_picture(io.BytesIO(self.content(index)), self.form), self.labels[index] if self.labels is not None else 0
        except Exception as error:  # decoders raise almost anything on bytes that they do not expect
            raise UserError(f"{self.title(index)} cannot be read: {error or type(error).__name__}") from error

    def sha256(self) -> str:
        """A hash of the files' bytes and of the form that they get."""
        digest = hashlib.sha256(str(self.form).encode())
        for index in tqdm(range(self.n), "hashing pictures", unit="file", delay=2, leave=False, disable=None):
            digest.update(hashlib.sha256(self.content(index)).digest())
        return digest.hexdigest()
