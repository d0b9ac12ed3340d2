"""Regions under review: a part of a slide, or a picture that was sent, whose cells a person counts, adds and removes.

A region is a folder ``ihc/regions/<id>`` of the data folder::

    region.json    what it is of, by which model; written last, so that a folder without it is no region
    <plane>.png    picture, seg, marker, hematoxylin, dapi, lap2
    edits.jsonl    what people changed: who, when, what; one line each, only ever appended

Cells are not kept: they come out of the planes the same each time, and edits name them by number.
"""
