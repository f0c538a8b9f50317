"""The offline copy of what the cloud published: keys, materials with rates, revoked cards, configuration."""

from edge.directory.directory import Applied, CatalogView, Directory

__all__ = ["Applied", "CatalogView", "Directory"]
