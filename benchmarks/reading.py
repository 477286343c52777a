"""Milliseconds to read one video's features in each form, and to interpolate them; files in the page cache.

    python3 benchmarks/reading.py [--rows 512] [--width 2048]
"""
import argparse
import os
import tempfile

import common
import h5py
import numpy as np
import pandas as pd

from features import FeatureStore, interpolate

INTERPOLATED = ((37, 256), (200, 512))  # clips of a moment and of a segment, rows wanted


def write_forms(folder, features):
    """Write `features` in every form, as video NAME.FORM of `folder`; return {form: (path of its store, bytes)}."""
    stores = {}
    for kind in (np.float32, np.float16):
        values, name = features.astype(kind), np.dtype(kind).name
        for form in ('npy', 'npz', 'csv', 'hdf5'):
            store = os.path.join(folder, '%s-%s' % (form, name))
            os.mkdir(store)
            path = os.path.join(store, 'video.' + form)
            if form == 'npy':
                np.save(path, values)
            elif form == 'npz':
                np.savez(path, values)
            elif form == 'csv':
                pd.DataFrame(values).to_csv(path, index=False)
            else:
                store = path
                with h5py.File(path, 'w') as file:
                    file['video'] = values
            stores['%s %s' % (form, name)] = store, os.path.getsize(path)
    return stores


def main():
    """Measure as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--rows', type=int, default=512, help='(default %(default)s)')
    parser.add_argument('--width', type=int, default=2048, help='(default %(default)s)')
    arguments = parser.parse_args()
    features = np.maximum(np.random.RandomState(0).standard_normal((arguments.rows, arguments.width)), 0)
    features = features.astype(np.float32)

    def milliseconds(call):
        return 1e3 * np.median(common.seconds_of(call, repeats=9))

    with tempfile.TemporaryDirectory() as folder:
        stores = write_forms(folder, features)
        read = {form: milliseconds(lambda path=path: FeatureStore(path, arguments.width).read('video'))
                for form, (path, _) in stores.items()}
        csv = os.path.join(stores['csv float32'][0], 'video.csv')
        pandas = milliseconds(lambda: pd.read_csv(csv).to_numpy())
    interpolated = {'%d to %d rows' % (clips, rows): milliseconds(
        lambda clips=clips, rows=rows: interpolate(features[:clips], rows, clips / 3.75, clips * 8))
        for clips, rows in INTERPOLATED}
    copy = 1e3 * features.nbytes / common.copy_rate()
    common.report('reading', rows=arguments.rows, width=arguments.width, milliseconds=read,
                  megabytes={form: size / 1e6 for form, (_, size) in stores.items()},
                  pandas_csv_milliseconds=pandas, csv_against_pandas=read['csv float32'] / pandas,
                  memory_copy_milliseconds=copy, npy_against_copy=read['npy float32'] / copy,
                  interpolation_milliseconds=interpolated)


if __name__ == '__main__':
    main()
