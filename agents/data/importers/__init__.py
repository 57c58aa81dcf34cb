"""Importers: logs in other formats as Minari datasets. A file reads each format; what the columns mean is common."""

from typing import TYPE_CHECKING

from agents.faces import resolve_lazily

if TYPE_CHECKING:
    from agents.data.importers.importing import Import as Import
    from agents.data.importers.importing import import_dataset as import_dataset
    from agents.data.importers.settings import ColumnsConfig as ColumnsConfig

resolve_lazily(__name__)
