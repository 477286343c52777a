"""The one place that imports TensorFlow: 1.15 and 2.x alike, quiet, in graph mode."""
import contextlib
import os
import sys
import tempfile
import threading
import warnings

from errors import ctrl_c_ends


@contextlib.contextmanager
def _quiet_import():
    """Hold back what TensorFlow says of CUDA, oneDNN and numpy while it loads, unless the import fails.

    TensorFlow 2 writes past its own log level, straight to file descriptor 2. Who wants to read it sets
    TF_CPP_MIN_LOG_LEVEL to less than 3.
    """
    if os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3') != '3':
        yield
        return
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter('ignore')  # TensorFlow 1.15 uses names that numpy 1.19 deprecates
                yield
        except BaseException:
            said.seek(0)
            os.write(kept, said.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


with ctrl_c_ends(), _quiet_import():
    import tensorflow.compat.v1 as tf

tf.logging.set_verbosity(tf.logging.ERROR)
tf.disable_v2_behavior()

CLOSE_SECONDS = 3  # that closing a session waits for reads under way
__all__ = ['session', 'tf']


@contextlib.contextmanager
def session(threads=0):
    """A session that takes GPU memory as it grows and runs on the CPU where there is no GPU.

    `threads` work within an operation and as many operations at a time; 0: TensorFlow's choice. With 1, sums on
    the CPU have one order. Closing it waits for the samples being read, but not for a read that hangs.
    """
    config = tf.ConfigProto(allow_soft_placement=True, intra_op_parallelism_threads=threads,
                            inter_op_parallelism_threads=threads)
    config.gpu_options.allow_growth = True
    # rewriting the graph takes longer than it saves: 20 s for a training step, whose operations are few and large
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    opened = tf.Session(config=config)
    try:
        with opened.as_default():
            yield opened
    finally:
        closing = threading.Thread(target=opened.close, daemon=True)
        closing.start()
        closing.join(CLOSE_SECONDS)
