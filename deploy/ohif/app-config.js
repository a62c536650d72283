// Configures OHIF 3.13 (npm's @ohif/app) for an archive at /dicom-web on the same origin.
// docs/viewer.md says how to serve it, and what each of the three repairs below is for.

const DERMOSCOPIC = '1.2.840.10008.5.1.4.1.1.77.1.7';
const ROWS_AND_COLUMNS = [1, 0, 0, 0, 1, 0];
const FIRST = 1e6; // before OHIF's own, which reads the file once more

// Segmentations without a frame of reference: each pixel is one of the image (PS3.3 A.51.5.1). OHIF
// reads two sequences all the same: its copy is completed, and nothing of it is stored.
const completed = new Map();

function complete(instance) {
  const groups = instance.SharedFunctionalGroupsSequence;
  const shared = Array.isArray(groups) ? groups[0] : groups;
  if (instance.Modality !== 'SEG' || !shared || instance.FrameOfReferenceUID) {
    return;
  }
  shared.PixelMeasuresSequence = {};
  shared.PlaneOrientationSequence = { ImageOrientationPatient: ROWS_AND_COLUMNS };
  if (!completed.size) {
    window.cornerstone.metaData.addProvider(provide, FIRST);
  }
  completed.set(instance.SOPInstanceUID, instance);
}

function provide(type, imageId) {
  const uid = type === 'instance' && /instances\/([0-9.]+)/.exec(imageId)?.[1];
  return uid ? completed.get(uid) : undefined;
}

function hasCoordinates(item) {
  const children = item.ContentSequence ? [].concat(item.ContentSequence) : [];
  return /^SCOORD/.test(item.ValueType) || children.some(hasCoordinates);
}

const photographs = {
  id: 'photographs',
  preRegistration({ servicesManager }) {
    const { displaySetService } = servicesManager.services;
    const { makeDisplaySets } = displaySetService;
    displaySetService.makeDisplaySets = (instances, options) => {
      instances.flat().forEach(complete);
      const made = makeDisplaySets(instances, options);
      for (const displaySet of made ?? []) {
        // Without coordinates there is nothing to draw: OHIF then shows the report as text.
        if (displaySet.Modality === 'SR' && !hasCoordinates(displaySet.instance)) {
          displaySet.isImagingMeasurementReport = false;
        }
      }
      return made;
    };
  },
  onModeEnter({ extensionManager }) {
    const images = '@ohif/extension-default.sopClassHandlerModule.stack';
    const { sopClassUids } = extensionManager.getModuleEntry(images);
    if (!sopClassUids.includes(DERMOSCOPIC)) {
      sopClassUids.push(DERMOSCOPIC);
    }
  },
};

window.config = {
  routerBasename: null,
  extensions: [photographs],
  modes: [],
  customizationService: {},
  showStudyList: true,
  maxNumberOfWebWorkers: 3,
  showLoadingIndicator: true,
  defaultDataSourceName: 'archive',
  dataSources: [
    {
      namespace: '@ohif/extension-default.dataSourcesModule.dicomweb',
      sourceName: 'archive',
      configuration: {
        friendlyName: 'Archive',
        name: 'archive',
        qidoRoot: '/dicom-web',
        wadoRoot: '/dicom-web',
        imageRendering: 'wadors',
        thumbnailRendering: 'wadors',
        enableStudyLazyLoad: true,
        supportsWildcard: true,
        bulkDataURI: { enabled: true, relativeResolution: 'studies' },
      },
    },
  ],
};
