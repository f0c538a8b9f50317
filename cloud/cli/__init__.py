"""The commands of `reloop-cloud`: each opens what it needs, says what it did, ends with a telling code."""
