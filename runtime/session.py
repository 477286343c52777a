"""The only module that imports TensorFlow: 1.15 or 2.x, in graph mode, without its log messages."""
import contextlib
import os
import sys
import tempfile
import threading
import warnings

from runtime.errors import exit_on_ctrl_c

__all__ = ['new_session', 'tf']
CLOSE_SECONDS = 3  # that closing a session waits for running reads


@contextlib.contextmanager
def _quiet_import():
    """Hide what TensorFlow prints while it loads, unless the import fails.

    TensorFlow 2 ignores its own log level while it loads and writes directly to file descriptor 2. To see the
    messages, set TF_CPP_MIN_LOG_LEVEL to less than 3.
    """
    if os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3') != '3':
        yield
        return
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as messages, warnings.catch_warnings():
        warnings.simplefilter('ignore')  # TensorFlow 1.15 uses names that numpy 1.19 deprecates
        os.dup2(messages.fileno(), 2)
        try:
            yield
        except BaseException:
            messages.seek(0)
            os.write(stderr, messages.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


with exit_on_ctrl_c(), _quiet_import():
    import tensorflow.compat.v1 as tf

tf.logging.set_verbosity(tf.logging.ERROR)
tf.disable_v2_behavior()


@contextlib.contextmanager
def new_session(threads=0):
    """A session as a context. It takes GPU memory as it needs it, and runs on the CPU if there is no GPU.

    threads: of one operation, and operations that run at the same time; 0: TensorFlow chooses. With 1, sums on the
    CPU have one fixed order, and runs repeat bit for bit. At the end, samples that are being read are waited for, but
    at most CLOSE_SECONDS: a read may hang.
    """
    config = tf.ConfigProto(allow_soft_placement=True, intra_op_parallelism_threads=threads,
                            inter_op_parallelism_threads=threads)
    config.gpu_options.allow_growth = True
    # Grappler's rewriting takes longer than it saves: 20 s for a training step, whose operations are few and large
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    session = tf.Session(config=config)
    try:
        with session.as_default():
            yield session
    finally:
        closing = threading.Thread(target=session.close, daemon=True)
        closing.start()
        closing.join(CLOSE_SECONDS)
