"""The rooms of the project: what lies in the root, and that imports point from higher rooms to lower ones only."""
import ast
import os
import re

import pytest
from data_sets import ROOT

# A module may import those of the lines above it, and of its own room; within the root only those above it.
ROOMS = ('runtime', 'ops', 'dataset', 'evaluation', 'config', 'aher_model', 'data_loader', 'preparation',
         'prepare_data', 'localization', 'aher_k600_train', 'aher_k600_test', 'aher_k600_localize', 'experiments',
         'benchmarks')
FOLDERS = {'runtime', 'ops', 'dataset', 'evaluation', 'preparation', 'localization', 'experiments', 'benchmarks',
           'docs', 'tests'}
ROOT_FILES = {
    'aher_k600_train.py', 'aher_k600_test.py', 'aher_k600_localize.py', 'aher_model.py',
    'data_loader.py', 'config.py', 'prepare_data.py',
    'k600_val_annotation.txt', 'requirements.txt', 'requirements-dev.txt', 'README.md', 'CHANGELOG.md', 'LICENSE',
    'CITATION.cff', 'Makefile', 'pyproject.toml'}


def modules():
    """(room, path) of all modules but the tests."""
    for room in ROOMS:
        if os.path.isdir(os.path.join(ROOT, room)):
            for name in sorted(os.listdir(os.path.join(ROOT, room))):
                if name.endswith('.py'):
                    yield room, os.path.join(room, name)
        else:
            yield room, room + '.py'


def imports(path):
    """(name of the module imported, whether inside a function) of each import in a file."""
    with open(os.path.join(ROOT, path), encoding='utf-8') as file:
        tree = ast.parse(file.read())
    inside = {id(node) for function in ast.walk(tree) if isinstance(function, (ast.FunctionDef, ast.Lambda))
              for node in ast.walk(function)}
    for node in ast.walk(tree):
        if isinstance(node, (ast.ImportFrom, ast.Import)):
            package = getattr(node, 'module', None)
            for name in [package] * bool(package) + [alias.name for alias in node.names]:
                yield '%s.%s' % (package, name) if package and name != package else name, id(node) in inside


def test_the_root_holds_what_it_should():
    # what a run or a tool leaves in the root is ignored by git, or hidden
    ignored = {'data', 'models', 'results', '__pycache__'}
    names = {name for name in os.listdir(ROOT) if not re.match(r'\.|venv|.*\.(log|tmp)$', name)} - ignored
    assert names == FOLDERS | ROOT_FILES


@pytest.mark.parametrize('room, path', modules(), ids=lambda value: value)
def test_imports_point_to_lower_rooms(room, path):
    allowed = ROOMS[:ROOMS.index(room) + 1]
    for name, is_inside in imports(path):
        top = name.split('.')[0]
        assert top not in ROOMS or top in allowed, '%s imports %s' % (path, name)
        assert not (top in ROOMS and is_inside), '%s imports %s inside a function' % (path, name)


def test_no_circles_within_a_room():
    graph = {path[:-len('.py')].replace(os.sep, '.'): {name for name, _ in imports(path)} for _, path in modules()}
    for start in graph:
        found, waiting = set(), [start]
        while waiting:
            for name in graph[waiting.pop()] & set(graph) - found:
                found.add(name)
                waiting.append(name)
        assert start not in found, start
