"""Documents agree with the code: links, cited sections, flags, command lines, and the tests that they name."""
import contextlib
import glob
import importlib
import io
import os
import re
import shlex

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
README, METHOD, ROBUSTNESS = 'README.md', 'docs/method.md', 'docs/robustness.md'
SUBCOMMANDS = {
    'prepare_data': ('fetch', 'import', 'annotation', 'features', 'split', 'check', 'demo'),
    'benchmarks.benchmark': ('step', 'test', 'memory', 'loading', 'snapshot', 'reading', 'checking', 'evaluation',
                             'page', 'full_run')}
SCRIPTS = ('aher_k600_train', 'aher_k600_test', 'aher_k600_localize', 'prepare_data', 'benchmarks.benchmark',
           'experiments.ablation', 'experiments.splits', 'experiments.forms', 'experiments.public_data',
           'evaluation.get_proposal_performance', 'evaluation.get_detection_performance', 'evaluation.analyze',
           'evaluation.report')
FLAG = re.compile(r'(?<![\w-])--[a-z]\w*')


def _read(path):
    with open(os.path.join(ROOT, path), encoding='utf-8') as text:
        return text.read()


def _files(*patterns):
    """Paths from the root of the project's files that fit `patterns`, in the root or a folder or two below."""
    found = [os.path.relpath(path, ROOT) for pattern in patterns for folder in ('', '*', '*/*')
             for path in glob.glob(os.path.join(ROOT, folder, pattern))]
    return sorted(path for path in set(found) if not re.match('(data|models|results|venv.*)/', path))


DOCUMENTS = [path for path in _files('*.md') if path != 'CHANGELOG.md']  # which has the flags of before
CODE = _files('*.py')


def test_the_readme_has_at_most_150_lines():
    assert _read(README).count('\n') <= 150


@pytest.mark.parametrize('path', _files('*.md'))
def test_links_and_pictures_lead_to_files(path):
    links = re.findall(r'\]\(([^)#\s]+)[^)]*\)', _read(path))
    local = [link for link in links if '://' not in link]
    folder = os.path.join(ROOT, os.path.dirname(path))
    assert [link for link in local if not os.path.exists(os.path.join(folder, link))] == []


def test_documents_that_code_and_documents_name_exist():
    named = {(path, name) for path in CODE + DOCUMENTS for name in re.findall(r'\bdocs/\w+\.\w+', _read(path))}
    assert [pair for pair in sorted(named) if not os.path.exists(os.path.join(ROOT, pair[1]))] == []


def test_cited_sections_exist():
    sections = set(re.findall(r'^## (\d+) ', _read(METHOD), re.MULTILINE))
    assert sections == set('123456789')
    cited = [(path, number) for path in CODE + DOCUMENTS
             for numbers in re.findall(r'\bsections?\s+(\d+(?:(?:,| and| to|…)\s*\d+)*)', _read(path), re.IGNORECASE)
             for number in re.findall(r'\d+', numbers)]
    assert len(cited) > 20  # so that the pattern finds them
    assert [citation for citation in cited if citation[1] not in sections] == []


def test_nothing_cites_a_document_that_is_not_here():
    word = re.compile(r'\bSP' r'EC\b')
    files = _files('*.py', '*.md', '*.txt', '*.toml', '*.cff', 'Makefile') + ['.ci/run', '.ci/environment.sh']
    assert [path for path in files if word.search(_read(path))] == []


def test_tests_that_documents_name_exist():
    tests = {path: set(re.findall(r'^def (test_\w+)', _read(path), re.MULTILINE)) for path in CODE
             if os.path.basename(path).startswith('test_')}
    named = re.findall(r'`(?:([\w/]+\.py)::)?(test_\w+)`', _read(ROBUSTNESS))
    assert len(named) > 50
    missing = [(path, name) for path, name in named if not any(
        name in functions for of, functions in tests.items() if of.endswith(path))]
    assert missing == []
    files = {name for path in DOCUMENTS for name in re.findall(r'[\w/]*\btest_\w+\.py\b', _read(path))}
    names = re.compile('|'.join(re.escape(path) + '$' for path in CODE))
    assert [name for name in sorted(files) if not names.search(name) and not any(
        path.endswith('/' + name) for path in CODE)] == []


def test_targets_of_make_exist():
    targets = set(re.findall(r'^(\w+):', _read('Makefile'), re.MULTILINE))
    named = {(path, name) for path in DOCUMENTS for name in re.findall(
        r'(?:^ {4}|`)make (\w+)', _read(path), re.MULTILINE)}
    assert (README, 'demo') in named
    assert [pair for pair in sorted(named) if pair[1] not in targets] == []


# Flags and command lines

@pytest.fixture(scope='module')
def flags_of():
    """Function: (script as a module's name, subcommand or None) → the flags that its --help shows."""
    known = {}

    def flags(script, subcommand=None):
        if (script, subcommand) not in known:
            known[script, subcommand] = set(FLAG.findall(_help(script, subcommand)))
        return known[script, subcommand]
    return flags


def _help(script, subcommand):
    text = io.StringIO()
    with contextlib.redirect_stdout(text), pytest.raises(SystemExit):
        importlib.import_module(script).main(([subcommand] if subcommand else []) + ['--help'])
    return text.getvalue()


def _commands(text):
    """(script as a module's name, arguments) of each command line of a document."""
    lines = text.replace('\\\n', ' ').split('\n')
    code = [line.strip() for line in lines if line.startswith('    ')]
    code += [found for line in lines for found in re.findall(r'`([^`]+)`', line)]
    for line in code:
        match = re.match(r'(?:\w+=\S+ )*([\w./]*python3? )?((?:\w+/)*\w+)\.py( .*)?$', line)
        script = match and match.group(2).replace('/', '.')
        if match and (match.group(1) or script in SCRIPTS):  # else the name of a file
            yield script, shlex.split((match.group(3) or '').replace('…', ''), comments=True)


@pytest.mark.parametrize('path', DOCUMENTS)
def test_command_lines_of_documents_are_understood(path, flags_of):
    wrong = []
    for script, arguments in _commands(_read(path)):
        if script not in SCRIPTS:
            assert os.path.exists(os.path.join(ROOT, script.replace('.', '/') + '.py')), script
            continue
        subcommand = arguments[0] if script in SUBCOMMANDS and arguments else None
        if subcommand:
            assert subcommand in SUBCOMMANDS[script], arguments
        used = {argument.split('=')[0] for argument in arguments if argument.startswith('--')} - {'--help'}
        wrong += [(script, subcommand, flag) for flag in sorted(used - flags_of(script, subcommand))]
    assert wrong == []


def test_flags_of_documents_exist(flags_of):
    known = {'--help', '--logdir'}  # the second is TensorBoard's
    for script in SCRIPTS:
        for subcommand in SUBCOMMANDS.get(script, (None,)):
            known |= flags_of(script, subcommand)
    for path in CODE:  # scripts whose --help is not asked above
        known.update(re.findall(r"add_argument\(\s*'(--\w+)'", _read(path)))
    shown = {(path, flag) for path in DOCUMENTS for flag in FLAG.findall(_read(path))}
    assert (README, '--threads') in shown
    assert [pair for pair in sorted(shown) if pair[1] not in known] == []
