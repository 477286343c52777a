"""The only module that imports TensorFlow: 1.15 or 2.x, in graph mode; its session, and the device that it uses."""
import contextlib
import os
import re
import shutil
import subprocess
import sys
import threading
import warnings

from runtime.errors import InputError, exit_on_ctrl_c
from runtime.machine import usable_cores

__all__ = ['announce_device', 'new_session', 'open_session', 'tf']
CLOSE_SECONDS = 3   # that closing a session waits for running reads
ASK_SECONDS = 120   # that TensorFlow has to say why it finds no GPU
REASON = re.compile(r'\] *((?:Could not load|Could not find|failed call to cuInit|Cannot dlopen).*)')

# TensorFlow's notes and warnings are many; its fatal errors are printed at any level
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
with exit_on_ctrl_c(), warnings.catch_warnings():
    warnings.simplefilter('ignore')  # TensorFlow 1.15 uses names that numpy 1.19 deprecates
    import tensorflow.compat.v1 as tf
    from tensorflow.python.client import device_lib

tf.logging.set_verbosity(tf.logging.ERROR)
tf.disable_v2_behavior()


def _session_config(threads=0, device='auto', tf32=False):
    """The ConfigProto of these settings (config.py); a session and a look at the devices must have the same."""
    _allow_tf32(tf32)
    threads = threads or usable_cores()
    config = tf.ConfigProto(allow_soft_placement=True, intra_op_parallelism_threads=threads,
                            inter_op_parallelism_threads=threads)
    if device == 'cpu':
        config.device_count['GPU'] = 0
    config.gpu_options.allow_growth = True
    # Grappler's rewriting takes longer than it saves: 20 s for a training step, whose operations are few and large
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    return config


def _allow_tf32(allowed):
    """Let GPUs compute with TF32, or not: TensorFlow 2 would, without a word."""
    if hasattr(tf.config.experimental, 'enable_tensor_float_32_execution'):
        tf.config.experimental.enable_tensor_float_32_execution(allowed)
    elif not allowed:  # NVIDIA's builds of TensorFlow 1.15
        os.environ['NVIDIA_TF32_OVERRIDE'] = '0'


def announce_device(threads=0, device='auto', tf32=False):
    """Print what a run computes on: GPUs by name and memory, or the CPU and why no GPU; the precision of the numbers.

    Raises InputError where `device` is 'gpu' and TensorFlow finds none.
    """
    threads = threads or usable_cores()
    gpus = [found for found in device_lib.list_local_devices(_session_config(threads, device, tf32))
            if found.device_type == 'GPU']
    if gpus:
        names = ['%s, %.1f GB' % (_gpu_name(gpu), gpu.memory_limit / 1e9) for gpu in gpus]
        print('device: GPU %s; TensorFlow %s, float32 with TF32 %s (--tf32)' % (
            '; GPU '.join(names), tf.__version__, 'on, where the GPU has it' if tf32 else 'off'), flush=True)
        return
    reason = '--device cpu' if device == 'cpu' else why_no_gpu(asked=device == 'gpu')
    if device == 'gpu':
        raise InputError('--device gpu: TensorFlow %s finds no GPU (%s); mend that, or compute on the CPU with '
                         '--device auto' % (tf.__version__, reason))
    print('device: no GPU: CPU with %d %s (%s); TensorFlow %s, float32' % (
        threads, 'thread' if threads == 1 else 'threads', reason, tf.__version__), flush=True)


def _gpu_name(gpu):
    """`0, NVIDIA A100-SXM4-80GB`, of a description `device: 0, name: …, pci bus id: …`."""
    match = re.match(r'device: (\d+), name: (.*?), pci bus id', gpu.physical_device_desc)
    return '%s, %s' % match.groups() if match else gpu.name


def why_no_gpu(asked=False):
    """Why TensorFlow finds no GPU, in its own words where it has some.

    It is asked, which takes some seconds, where there is a driver, or where `asked` or CUDA_VISIBLE_DEVICES say that
    the user expects a GPU.
    """
    visible = os.environ.get('CUDA_VISIBLE_DEVICES')
    driver = shutil.which('nvidia-smi') or os.path.exists('/proc/driver/nvidia/version')
    if visible is not None and not re.match(r'\s*\w', visible):  # '', or -1
        return 'CUDA_VISIBLE_DEVICES=%s hides all' % visible
    if not tf.test.is_built_with_cuda():
        return 'this TensorFlow is built without CUDA'
    said = _ask_tensorflow() if driver or asked or visible else ''
    return said or ('TensorFlow gives no reason' if driver else 'no NVIDIA driver is installed')


def _ask_tensorflow():
    """Why a new process of TensorFlow that hides none of its messages finds no GPU; '' if it does not say."""
    code = 'import tensorflow.compat.v1 as tf; tf.Session()'
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        said = subprocess.run([sys.executable, '-c', code], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                              env=dict(os.environ, TF_CPP_MIN_LOG_LEVEL='0'), timeout=ASK_SECONDS).stderr
        return '; '.join(dict.fromkeys(REASON.findall(said.decode('utf-8', 'replace'))))
    return ''


@contextlib.contextmanager
def new_session(threads=0, device='auto', tf32=False):
    """A session as a context. It takes GPU memory as it needs it.

    threads: of one operation, and operations that run at the same time; 0: one for each core that the process may
    use. With 1, sums on the CPU have one fixed order, and runs repeat bit for bit. device, tf32: as in config.py. At
    the end, samples that are being read are waited for, but at most CLOSE_SECONDS: a read may hang.
    """
    session = open_session(threads, device, tf32)
    try:
        with session.as_default():
            yield session
    finally:
        closing = threading.Thread(target=session.close, daemon=True)
        closing.start()
        closing.join(CLOSE_SECONDS)


def open_session(threads=0, device='auto', tf32=False, graph=None):
    """The same session, of `graph` or of the default graph, to be closed by the caller; it is not the default one."""
    return tf.Session(graph=graph, config=_session_config(threads, device, tf32))
