"""The report page in a real browser: it opens without faults, and tables, filters and pictures work."""
import base64
import io
import json
import shutil

import numpy as np
import pytest
from matplotlib.image import imread
from small_files import results_of, truth_of

from evaluation import report

webdriver = pytest.importorskip('selenium.webdriver', reason='selenium is not installed; requirements-dev.txt has it '
                                'for Python 3.10 and later')
WebDriverWait = pytest.importorskip('selenium.webdriver.support.ui').WebDriverWait
BROWSER = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)
DRIVER = shutil.which('chromedriver')
pytestmark = pytest.mark.skipif(not (BROWSER and DRIVER), reason='found no chromium with chromedriver (Debian: '
                                'packages chromium and chromium-driver)')
FLAGS = ('--headless=new', '--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking',
         '--disable-component-update', '--disable-sync', '--hide-scrollbars', '--window-size=1280,900')

SCRIPT = '<script>alert("&")</script>'
TRUTH = {'a': [(0, 10, 'yoga'), (20, 60, 'yoga')], 'b': [(0, 100, SCRIPT)], 'c': [(5, 9, 'yoga')],
         **{'video %d' % i: [(0, 30 + i, 'tai chi')] for i in range(5)}}
OURS = {'a': [(0.9, 0, 10, 'yoga'), (0.5, 20, 38, 'yoga')], 'b': [(0.8, 0, 90, SCRIPT)], 'c': [(0.7, 5, 9, SCRIPT)],
        **{'video %d' % i: [(0.1 * (i + 1), 0, 30, 'tai chi')] for i in range(5)}}
THEIRS = {'c': [(30, 5, 9, 'yoga')], 'a': [(20, 20, 60, 'yoga'), (-3, 90, 99, 'yoga')]}


@pytest.fixture(scope='module')
def browser():
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability('goog:loggingPrefs', {'browser': 'ALL'})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope='module')
def pages(tmp_path_factory):
    """Addresses of pages of one, two and four results files."""
    folder = tmp_path_factory.mktemp('pages')
    for name, content in (('truth', truth_of(TRUTH)), ('ours', results_of(OURS)), ('theirs', results_of(THEIRS))):
        (folder / (name + '.json')).write_text(json.dumps(content))
    truth, ours, theirs = (str(folder / (name + '.json')) for name in ('truth', 'ours', 'theirs'))
    report.main([truth, ours, '--out', str(folder / 'one.html')])
    report.main([truth, ours, theirs, '--out', str(folder / 'two.html')])
    report.main([truth, ours, theirs, 'ours again=' + ours, 'theirs again=' + theirs,
                 '--out', str(folder / 'four.html')])
    return [(folder / (name + '.html')).as_uri() for name in ('one', 'two', 'four')]


def open_page(browser, address):
    """Open the page anew, and wait until all of its scripts have run."""
    browser.get('about:blank')
    browser.get(address)
    WebDriverWait(browser, 60).until(lambda _: browser.execute_script(
        'const count = document.querySelector("#count"); return count && count.textContent !== ""'))


def shown(browser):
    """Names of the videos whose timelines are on the page."""
    return browser.execute_script(
        'return Array.from(document.querySelectorAll(".video"), card => card.dataset.video)')


def choose(browser, control, value):
    """Give the control of the page this value, as a user does."""
    browser.execute_script('const control = document.querySelector(arguments[0]); control.value = arguments[1];'
                           'control.dispatchEvent(new Event("input", {bubbles: true}))', control, value)


def column(browser, table, number):
    """Texts of the visible cells of one column."""
    return browser.execute_script(
        'return Array.from(document.querySelectorAll(arguments[0] + " tbody tr"), row => row)'
        '.filter(row => !row.hidden).map(row => row.cells[arguments[1]].textContent)', table, number)


def bars(browser, trace, field, plot=0):
    """A list that Plotly draws: of the ground truth (trace 0) or of results (1, …) of a timeline."""
    return browser.execute_script('return document.querySelectorAll(".timeline")[arguments[0]].data[arguments[1]]'
                                  '[arguments[2]]', plot, trace, field)


def test_pages_open_without_faults_and_without_a_network(browser, pages):
    for page in pages:
        open_page(browser, page)
        assert [line for line in browser.get_log('browser') if line['level'] != 'INFO'] == []
        assert browser.execute_script('return performance.getEntriesByType("resource").length') == 0
        plots, drawn = browser.execute_script(
            'const plots = document.querySelectorAll(".chart"); return [plots.length, Array.from(plots).filter('
            'plot => plot.querySelector(".main-svg")).length]')
        assert plots == drawn >= 9


@pytest.mark.parametrize('width', [1280, 390])
def test_pictures_of_the_page_are_not_blank_and_fit(browser, pages, width):
    browser.execute_cdp_cmd('Emulation.setDeviceMetricsOverride', {
        'width': width, 'height': 800, 'deviceScaleFactor': 1, 'mobile': width < 500})
    try:
        open_page(browser, pages[1])
        assert browser.execute_script('return document.documentElement.scrollWidth') == width
        places = browser.execute_script(
            'return Array.from(document.querySelectorAll(".chart, .timeline, table"), place => {'
            'const box = place.getBoundingClientRect();'
            'return [box.left, box.top + scrollY, box.width, box.height]})')
        height = browser.execute_script('return document.documentElement.scrollHeight')
        picture = imread(io.BytesIO(base64.b64decode(browser.execute_cdp_cmd('Page.captureScreenshot', {
            'captureBeyondViewport': True,
            'clip': {'x': 0, 'y': 0, 'width': width, 'height': height, 'scale': 1}})['data'])))[..., :3]
    finally:
        browser.execute_cdp_cmd('Emulation.clearDeviceMetricsOverride', {})
    assert picture.shape[:2] == (height, width)
    for left, top, wide, high in places:
        part = picture[int(top):int(top + high), int(max(left, 0)):int(left + wide)]
        assert len(np.unique(part.reshape(-1, 3), axis=0)) > 8 and (part < 0.7).any()


def test_a_class_name_with_html_is_text(browser, pages):
    open_page(browser, pages[0])
    assert SCRIPT in column(browser, '#class-table', 0)
    choose(browser, '#class', SCRIPT)
    assert shown(browser) == ['b']
    texts = browser.execute_script('return document.querySelector(".timeline").textContent')
    assert '<script>alert' in texts  # Plotly's axis has the beginning of the name
    hovered = browser.execute_script(
        'const plot = document.querySelector(".timeline");'
        'Plotly.Fx.hover(plot, [{curveNumber: 1, pointNumber: 0}], ["xy2"]);'
        'return plot.querySelector(".hovertext").textContent')
    assert hovered == SCRIPT + ', true0.00 to 90.00 s (90.00 s)score 0.8, tIoU 0.90'


def test_tables_are_sorted_by_a_click(browser, pages):
    open_page(browser, pages[0])
    headings = browser.find_elements('css selector', '#class-table thead th button')
    headings[0].click()
    assert column(browser, '#class-table', 0) == [SCRIPT, 'tai chi', 'yoga']
    headings[1].click()  # numbers, first from the highest down
    assert column(browser, '#class-table', 1) == ['5', '3', '1']
    headings[1].click()
    assert column(browser, '#class-table', 1) == ['1', '3', '5']
    headings[2].click()
    assert column(browser, '#class-table', 0) == [SCRIPT, 'tai chi', 'yoga']  # AP 100, 100 and 33.33
    assert browser.find_elements('css selector', '#class-table th')[2].get_attribute('aria-sort') == 'descending'
    choose(browser, '#class-search', 'CHI')
    assert column(browser, '#class-table', 0) == ['tai chi']


def test_filters(browser, pages):
    open_page(browser, pages[0])
    worst = shown(browser)
    assert worst[:2] == ['c', 'a'] and len(worst) == 6  # AP 0 and 50 %; all others have 100 %
    choose(browser, '#class', 'yoga')
    assert shown(browser) == ['c', 'a']
    choose(browser, '#length', '2')  # 30 to 60 s
    assert shown(browser) == ['a']
    browser.find_element('css selector', '#filters button[type=reset]').click()
    WebDriverWait(browser, 10).until(lambda _: shown(browser) == worst)
    choose(browser, '#kind', 'missed')
    assert shown(browser) == ['c', 'a']
    choose(browser, '#kind', '3')  # localization
    assert shown(browser) == ['a']
    choose(browser, '#kind', '2')  # wrong label
    assert shown(browser) == ['c']
    choose(browser, '#kind', '1')  # double detection
    assert shown(browser) == []
    assert 'no video has all of this' in browser.find_element('css selector', '#count').text
    choose(browser, '#kind', '')
    choose(browser, '#name', 'DEO 3')
    assert shown(browser) == ['video 3']


def test_order_and_pages(browser, pages):
    open_page(browser, pages[0])
    assert browser.find_element('css selector', '#count').text == '8 of 8 videos; shown: 1 to 6'
    choose(browser, '#order', 'name')
    assert shown(browser) == ['a', 'b', 'c', 'video 0', 'video 1', 'video 2']
    browser.find_element('css selector', '#next').click()
    assert shown(browser) == ['video 3', 'video 4']
    assert not browser.find_element('css selector', '#next').is_enabled()
    browser.find_element('css selector', '#previous').click()
    assert shown(browser)[0] == 'a'
    choose(browser, '#order', 'best')
    assert 'c' not in shown(browser)
    choose(browser, '#order', 'confident')
    assert shown(browser)[:2] == ['c', 'a']  # 0.7 and 0.5


def test_threshold_and_height(browser, pages):
    open_page(browser, pages[0])
    choose(browser, '#name', 'a')
    choose(browser, '#class', 'yoga')
    assert bars(browser, 1, 'base') == [0, 20] and bars(browser, 1, 'x') == [10, 18]
    assert np.allclose(bars(browser, 1, 'y'), [0.9, 0.5])
    choose(browser, '#height', 'rank')
    assert bars(browser, 1, 'y') == [1, 2]
    choose(browser, '.threshold', '800')  # two thirds of the results have a lower score than this
    assert bars(browser, 1, 'base') == [0]
    assert browser.find_element('css selector', '#score-0').text == 'at least 0.7 (3 results)'
    choose(browser, '#kind', '3')
    assert shown(browser) == []  # its only result of this kind is below the threshold


def test_quick_changes_leave_no_fault(browser, pages):
    open_page(browser, pages[2])
    browser.execute_script('for (const slider of document.querySelectorAll(".threshold")) { slider.value = 700;'
                           'slider.dispatchEvent(new Event("input", {bubbles: true})); }')
    for control, values in (('.threshold', ('200', '0')), ('#order', ('best', 'ahead', 'confident', 'name')),
                            ('#kind', ('0', '1', '2', '3', '4', '5', '')), ('#height', ('rank', 'score'))):
        for value in values:
            choose(browser, control, value)
    assert browser.execute_async_script('setTimeout(arguments[0], 300, true)')
    assert [line for line in browser.get_log('browser') if line['level'] != 'INFO'] == []
    assert bars(browser, 0, 'base', plot=5)  # the last of the page is drawn


def test_two_files_are_compared(browser, pages):
    open_page(browser, pages[1])
    choose(browser, '#order', 'ahead')
    choose(browser, '#file', '1')
    assert shown(browser)[0] == 'c'
    assert browser.find_element('css selector', '.video p').text.split('ours')[1].startswith(': found 0 of 1, AP 0 %')
    assert browser.execute_script('return document.querySelector(".timeline").data.length') == 3
    assert bars(browser, 2, 'y') == [30] and bars(browser, 1, 'y')[0] == pytest.approx(0.7)
    assert bars(browser, 0, 'text')[0].endswith('found by: theirs')
    browser.find_element('css selector', '#class-table a[data-class="tai chi"]').click()
    assert set(shown(browser)) == {'video %d' % i for i in range(5)}
