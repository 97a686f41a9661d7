"""Rated snippets of film reviews as a table of texts, from a package that an installation fetches into the cache."""

import io
import logging
import tarfile
from pathlib import Path

import pandas as pd
from platformdirs import user_cache_path

from ft_lightning.data.packages import package
from ft_lightning.system.files import replacing

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


def write_snippets() -> Path:
    """Write the 10,072 snippets with a clear rating once, as <user cache>/ft_lightning/snippets-1.csv; return it.

    Raises:
        UserError: the package is not there, or has other bytes.
    """
    table = user_cache_path("ft_lightning") / "snippets-1.csv"
    if table.is_file():
        return table
    file = package(PACKAGE, _SHA256, "data=snippets", "Texts of your own: data=texts data.table=/texts.csv.")
    with replacing(table) as temporary:
        _rows(file).to_csv(temporary, index=False)
    log.warning("data=snippets: %s.", _SOURCE)
    return table


def _rows(file: Path) -> pd.DataFrame:
    """Return text and label of the snippets in a package."""
    with tarfile.open(file) as outer, tarfile.open(fileobj=io.BytesIO(_member(outer, _INNER))) as inner:
        lines = _member(inner, _DATA).decode("utf-8").splitlines()
    cells = [line.split("\t") for line in lines if line.strip()]
    rated = [(text.strip(), float(rating)) for _, rating, text in cells]
    rows = [(text, "positive" if rating > 0 else "negative") for text, rating in rated if abs(rating) >= _UNDECIDED]
    return pd.DataFrame(rows, columns=["text", "label"])


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    assert file, name
    return file.read()
