// What a test asks of the page, as `slidePage.<verb>(…)`. Only the library's public methods are used, as Slim does.
'use strict'

const slidePage = (() => {
  const { metadata, viewer } = dicomMicroscopyViewer
  const kinds = {
    SEG: {
      read: metadata.Segmentation,
      add: (shown, instances) => shown.addSegments(instances),
      all: (shown) => shown.getAllSegments(),
      show: 'showSegment',
      hide: 'hideSegment',
      remove: 'removeSegment',
    },
    OT: {
      read: metadata.ParametricMap,
      add: (shown, instances) => shown.addParameterMappings(instances),
      all: (shown) => shown.getAllParameterMappings(),
      show: 'showParameterMapping',
      hide: 'hideParameterMapping',
      remove: 'removeParameterMapping',
    },
    ANN: {
      read: metadata.MicroscopyBulkSimpleAnnotations,
      add: (shown, instances) => instances.forEach((instance) => shown.addAnnotationGroups(instance)),
      all: (shown) => shown.getAllAnnotationGroups(),
      show: 'showAnnotationGroup',
      hide: 'hideAnnotationGroup',
      remove: 'removeAnnotationGroup',
    },
  }
  let client
  let study
  let shown
  let map

  async function read(seriesInstanceUID, kind) {
    const found = await client.retrieveSeriesMetadata({ studyInstanceUID: study, seriesInstanceUID })
    return found.map((instance) => new kind({ metadata: instance }))
  }

  // Everything that is asked for has come and is drawn; annotations follow the view half a second later.
  async function settled(pause) {
    if (pause) await new Promise((resolve) => setTimeout(resolve, pause))
    const complete = new Promise((resolve) => map.once('rendercomplete', resolve))
    map.render()
    await complete
    await new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)))
  }

  return {
    async open(dicomweb, studyInstanceUID, seriesInstanceUID) {
      client = new DICOMwebClient.api.DICOMwebClient({ url: dicomweb })
      study = studyInstanceUID
      const images = await read(seriesInstanceUID, metadata.VLWholeSlideMicroscopyImage)
      const container = document.getElementById('viewport')
      shown = new viewer.VolumeImageViewer({
        client,
        metadata: images.filter((image) => ['VOLUME', 'THUMBNAIL'].includes(image.ImageType[2])),
        controls: [],
        skipThumbnails: true,
        errorInterceptor: (error) => {
          console.error(error.message)
          return error
        },
      })
      shown.render({ container })
      map = shown.getMap()
      await settled()
    },

    // Returns the UIDs that `show`, `hide` and `remove` take, with the labels that the library read.
    async add(modality, seriesInstanceUID) {
      const kind = kinds[modality]
      const known = new Set(kind.all(shown).map((each) => each.uid))
      kind.add(shown, await read(seriesInstanceUID, kind.read))
      return kind
        .all(shown)
        .filter((each) => !known.has(each.uid))
        .map((each) => ({ uid: each.uid, label: each.label }))
    },

    async show(modality, uid, style) {
      shown[kinds[modality].show](uid, style ?? {})
      await settled()
    },

    async hide(modality, uid) {
      shown[kinds[modality].hide](uid)
      await settled()
    },

    async remove(modality, uid) {
      shown[kinds[modality].remove](uid)
      await settled()
    },

    // `column`, `row`: the pixel of the finest level in the middle; `scale`: such pixels for one of the screen.
    async look(column, row, scale, pause) {
      const view = map.getView()
      view.setCenter([column, -1 - row])
      view.setResolution(scale)
      await settled(pause)
    },

    // The window has another size.
    async resized() {
      shown.resize()
      await settled()
    },

    // Screen coordinates (x, y) of places (column, row) in pixels of the finest level.
    place: (points) => points.map(([column, row]) => map.getPixelFromCoordinate([column, -1 - row])),

    scale: () => map.getView().getResolution(),
  }
})()
