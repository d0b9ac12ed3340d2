"""Training data out of what people drew: QuPath's GeoJSON, and the annotations in our own store.

In go outlines in slide pixels (`marks`, `geojson`, `reports`) and segmentations (`segments`), found in the store by
`stored`; out come crops at one resolution (`crops`) as a folder of pictures and labels (`folder`). What nobody looked
at is unknown and not background: a region of interest says where everything was drawn.
"""
