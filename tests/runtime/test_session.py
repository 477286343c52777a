"""What a run says of its device, and a session on the CPU."""
import os
from types import SimpleNamespace
from unittest import mock

import pytest
from data_sets import message_of, python

from runtime import session
from runtime.machine import usable_cores

GPU = SimpleNamespace(device_type='GPU', name='/device:GPU:0', memory_limit=16 * 10 ** 9,
                      physical_device_desc='device: 0, name: Tesla V100-SXM2-16GB, pci bus id: 0000:00, compute 7.0')
CPU = SimpleNamespace(device_type='CPU')


@pytest.fixture
def devices():
    """The list of devices that TensorFlow finds."""
    found = [CPU]
    with mock.patch.object(session.device_lib, 'list_local_devices', lambda config: found), \
            mock.patch.object(session, 'why_no_gpu', lambda asked: 'no driver'):
        yield found


def test_gpus_are_named_with_their_memory(devices, capsys):
    devices.append(GPU)
    session.announce_device(device='gpu')
    session.announce_device(tf32=True)
    found = capsys.readouterr().out.splitlines()
    assert found[0].startswith('device: GPU 0, Tesla V100-SXM2-16GB, 16.0 GB; TensorFlow ')
    assert found[0].endswith('float32 with TF32 off (--tf32)') and 'TF32 on' in found[1]


def test_no_gpu_is_reported_or_ends_the_run(devices, capsys):
    session.announce_device(threads=3)
    session.announce_device(device='cpu')
    found = capsys.readouterr().out.splitlines()
    assert found[0].startswith('device: no GPU: CPU with 3 threads (no driver); TensorFlow ')
    assert found[1].startswith('device: no GPU: CPU with %d threads (--device cpu)' % usable_cores())
    message = message_of(session.announce_device, 0, 'gpu')
    assert message.startswith('--device gpu: TensorFlow ') and 'finds no GPU (no driver); ' in message


def test_why_there_is_no_gpu(monkeypatch):
    monkeypatch.setattr(session.tf.test, 'is_built_with_cuda', lambda: True)
    monkeypatch.setattr(session, '_ask_tensorflow', lambda: 'its words')
    monkeypatch.setattr(session.shutil, 'which', lambda _: None)
    for visible, asked, reason in ((None, False, 'no NVIDIA driver is installed'), (None, True, 'its words'),
                                   ('0', False, 'its words'), ('', True, 'CUDA_VISIBLE_DEVICES= hides all'),
                                   ('-1', False, 'CUDA_VISIBLE_DEVICES=-1 hides all')):
        monkeypatch.delenv('CUDA_VISIBLE_DEVICES', raising=False)
        if visible is not None:
            monkeypatch.setenv('CUDA_VISIBLE_DEVICES', visible)
        assert session.why_no_gpu(asked) == reason
    monkeypatch.setattr(session.tf.test, 'is_built_with_cuda', lambda: False)
    monkeypatch.delenv('CUDA_VISIBLE_DEVICES')
    assert session.why_no_gpu() == 'this TensorFlow is built without CUDA'


SAYS = '''
import os, sys
class Session:
    assert os.environ['TF_CPP_MIN_LOG_LEVEL'] == '0'
    sys.stderr.write("""2026: I a.cc:1] Successfully opened dynamic library libcudart.so.10.0
2026: W b.cc:5] Could not load dynamic library 'libcudnn.so.7'; dlerror: no file
E c.cc:3] other
""")
'''


def test_tensorflow_is_asked_for_its_reason(tmp_path, monkeypatch):
    (tmp_path / 'tensorflow' / 'compat').mkdir(parents=True)
    for package in ('tensorflow', 'tensorflow/compat'):
        (tmp_path / package / '__init__.py').write_text('')
    (tmp_path / 'tensorflow' / 'compat' / 'v1.py').write_text(SAYS)
    monkeypatch.setenv('PYTHONPATH', str(tmp_path))
    assert session._ask_tensorflow() == "Could not load dynamic library 'libcudnn.so.7'; dlerror: no file"


def test_tf32_is_off_unless_allowed():
    found = []
    with mock.patch.object(session.tf.config, 'experimental',
                           SimpleNamespace(enable_tensor_float_32_execution=found.append)):
        with session.new_session(1):
            pass
        with session.new_session(1, tf32=True):
            pass
    assert found == [False, True]


def test_what_tensorflow_writes_while_it_loads_is_not_hidden(tmp_path):
    (tmp_path / 'tensorflow.py').write_text('import os\nos.write(2, b"F0000 fatal: no such instruction\\n")\n'
                                            'os.abort()\n')
    done = python('aher_k600_train.py', env=dict(os.environ, PYTHONPATH=str(tmp_path)))
    assert done.returncode == -6 and 'F0000 fatal: no such instruction' in done.stderr
