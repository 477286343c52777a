/* The timelines of videos, and what chooses and orders them. */
'use strict';

const VIDEOS_ON_A_PAGE = 6;
const TRUTH_COLOR = '#3a4048';
const LANE_PIXELS = 24;     // a label of the ground truth
const PANEL_PIXELS = 110;   // the results of a file
const BAR_PIXELS = 6;
const SLIDER_STEPS = 1000;
const MISSED = 'missed';

const ARRAY_TYPES = {float32: Float32Array, uint8: Uint8Array, uint16: Uint16Array, uint32: Uint32Array};

/* {type, base64} → typed array. */
function unpack(packed) {
  const text = atob(packed.base64);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return new ARRAY_TYPES[packed.type](bytes.buffer);
}

function unpackColumns(columns) {
  return Object.fromEntries(Object.entries(columns).map(([name, packed]) => [name, unpack(packed)]));
}

const seconds = unpack(page.seconds);
const isKnown = unpack(page.is_known);           // the duration of a video; else it is where the last segment ends
const segments = unpackColumns(page.segments);   // rows of video v: segments.first[v] to segments.first[v + 1]
const drawn = page.drawn.map(unpackColumns);     // of each file, the best first within a video
const found = page.found.map(unpack);            // of each file: is the segment taken?
const videoAp = page.ap.map(unpack);
const ascendingScores = drawn.map(results => results.score.slice().sort());
const scoreRanges = ascendingScores.map(scores => {
  const low = Math.min(0, scores[0] || 0);
  const high = Math.max(0, scores[scores.length - 1] || 0);
  return [low, low < high ? high : low + 1];
});
const TRUE_KIND = page.kinds.indexOf('true');

const control = name => document.getElementById(name);
const rowsOf = (columns, video) => [columns.first[video], columns.first[video + 1]];
let shownVideos = [];
let plots = [];  // [element, promise of Plotly that it is drawn]
let firstShown = 0;

/* What the form says now. */
function readChoice() {
  const file = control('file') ? Number(control('file').value) : 0;
  const className = control('class').value;
  const thresholds = Array.from(document.querySelectorAll('.threshold'), (slider, i) => {
    const scores = ascendingScores[i];
    const place = Math.floor(Number(slider.value) / SLIDER_STEPS * (scores.length - 1));
    return scores.length && Number(slider.value) > 0 ? scores[place] : -Infinity;
  });
  const kind = control('kind').value;
  return {
    file, thresholds, order: control('order').value, byRank: control('height').value === 'rank',
    isMissed: kind === MISSED, kind: kind === '' || kind === MISSED ? null : Number(kind),
    label: className === '' ? null : page.classes.indexOf(className),
    length: control('length').value === '' ? null : page.lengths[Number(control('length').value)],
    name: control('name').value.toLowerCase()};
}

/* Has the video a segment of the class and of the length, both of the same segment? */
function hasSegment(video, choice) {
  const [from, to] = rowsOf(segments, video);
  for (let i = from; i < to; i++) {
    const length = segments.end[i] - segments.start[i];
    const [low, high] = choice.length || [0, null];
    const fits = (length > low || low === 0) && (high === null || length <= high);
    const isWanted = !choice.isMissed || !found[choice.file][i];
    if (fits && isWanted && (choice.label === null || segments.label[i] === choice.label)) return true;
  }
  return false;
}

function hasKind(video, choice) {
  if (choice.kind === null) return true;
  const results = drawn[choice.file];
  const [from, to] = rowsOf(results, video);
  for (let i = from; i < to && results.score[i] >= choice.thresholds[choice.file]; i++) {
    if (results.kind[i] === choice.kind) return true;
  }
  return false;
}

/* The score of the best result that is not true, of those that are drawn. */
function confidentError(video, file) {
  const results = drawn[file];
  const [from, to] = rowsOf(results, video);
  for (let i = from; i < to; i++) if (results.kind[i] !== TRUE_KIND) return results.score[i];
  return -Infinity;
}

/* Two numbers by which videos are ordered, the lowest first; the second decides where the first is equal. */
function orderKeys(video, choice) {
  const ap = videoAp[choice.file][video];
  const error = confidentError(video, choice.file);
  switch (choice.order) {
    case 'worst': return [ap, -error];
    case 'best': return [-ap, error];
    case 'confident': return [-error, ap];
    case 'ahead': return [Math.max(...videoAp.filter((_, i) => i !== choice.file).map(of => of[video])) - ap, error];
    default: return [0, 0];
  }
}

function chooseVideos(choice) {
  const videos = [];
  page.videos.forEach((name, video) => {
    if (name.toLowerCase().includes(choice.name) && hasSegment(video, choice) && hasKind(video, choice)) {
      videos.push({video, keys: orderKeys(video, choice), name});
    }
  });
  const compare = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
  videos.sort((a, b) => compare(a.keys[0], b.keys[0]) || compare(a.keys[1], b.keys[1]) || compare(a.name, b.name));
  return videos.map(entry => entry.video);
}

/* Plotly reads some of HTML in its texts. */
const escapeText = text => text.replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;');
const shorten = (text, length) => text.length > length ? text.slice(0, length - 1) + '…' : text;
const times = (start, end) => `${start.toFixed(2)} to ${end.toFixed(2)} s (${(end - start).toFixed(2)} s)`;
const scoreText = score => Number(score.toPrecision(4)).toString();

/* Bars of Plotly without any yet; `settings`: their width and what else is the same of all. */
function newBars(settings) {
  return {type: 'bar', orientation: 'h', base: [], x: [], y: [], text: [], textposition: 'none',
    hovertemplate: '%{text}<extra></extra>', xaxis: 'x', ...settings};
}

function addBar(trace, start, end, y, text) {
  trace.base.push(start);
  trace.x.push(end - start);
  trace.y.push(y);
  trace.text.push(text);
}

/* The bars of the ground truth: a lane for each label. */
function truthTrace(video) {
  const [from, to] = rowsOf(segments, video);
  const trace = newBars({marker: {color: TRUTH_COLOR, line: {color: TRUTH_COLOR, width: 1}}, width: 0.7, yaxis: 'y'});
  const lanes = [];
  for (let i = from; i < to; i++) {
    const label = page.classes[segments.label[i]];
    if (!lanes.includes(label)) lanes.push(label);
    const by = page.names.filter((_, file) => found[file][i]).map(escapeText).join(', ');
    addBar(trace, segments.start[i], segments.end[i], lanes.indexOf(label),
      `<b>${escapeText(label)}</b><br>${times(segments.start[i], segments.end[i])}<br>` + (page.names.length > 1 ? `found by: ${by || 'none'}` : by ? 'found' : 'missed'));
  }
  return {trace, lanes};
}

/* The bars of the results of a file; those of other kinds than the chosen one are pale. */
function resultsTrace(video, file, choice) {
  const results = drawn[file];
  const [from, to] = rowsOf(results, video);
  const [low, high] = scoreRanges[file];
  const trace = newBars({marker: {color: [], opacity: []}, yaxis: `y${file + 2}`,
    width: choice.byRank ? 0.8 : (high - low) * BAR_PIXELS / PANEL_PIXELS});
  for (let i = from; i < to && results.score[i] >= choice.thresholds[file]; i++) {
    const kind = results.kind[i];
    trace.marker.color.push(page.kind_colors[kind]);
    trace.marker.opacity.push(file !== choice.file || choice.kind === null || choice.kind === kind ? 0.85 : 0.12);
    addBar(trace, results.start[i], results.end[i], choice.byRank ? i - from + 1 : results.score[i],
      `<b>${escapeText(page.classes[results.label[i]])}</b>, ${page.kinds[kind]}<br>`
      + `${times(results.start[i], results.end[i])}<br>score ${scoreText(results.score[i])}, `
      + `tIoU ${(results.tiou[i] / 100).toFixed(2)}`);
  }
  return trace;
}

/* The axes: the ground truth on top, then a panel for each file; numbers: of its bars. */
function layoutOf(video, lanes, numbers, choice) {
  const narrow = window.innerWidth < 600;
  const truth = LANE_PIXELS * lanes.length;
  const gap = 10;
  const plotted = truth + page.names.length * (PANEL_PIXELS + gap);
  const layout = {
    height: plotted + 44, margin: {l: narrow ? 92 : 150, r: 12, t: 4, b: 40}, barmode: 'overlay', showlegend: false,
    hovermode: 'closest', font: {family: 'inherit', size: 11, color: '#23282d'}, plot_bgcolor: '#fafbfc',
    xaxis: {range: [0, seconds[video]], anchor: `y${page.names.length + 1}`, title: 'seconds', gridcolor: '#e6e8eb'},
    yaxis: {domain: [1 - truth / plotted, 1], range: [lanes.length - 0.5, -0.5], tickvals: lanes.map((_, i) => i),
      ticktext: lanes.map(label => escapeText(shorten(label, narrow ? 13 : 22))), showgrid: false, zeroline: false},
  };
  page.names.forEach((name, file) => {
    const top = 1 - (truth + gap + file * (PANEL_PIXELS + gap)) / plotted;
    const [low, high] = scoreRanges[file];
    const range = choice.byRank ? [numbers[file] + 0.5, 0.5] : [low, high + 0.05 * (high - low)];
    layout[`yaxis${file + 2}`] = {
      domain: [Math.max(0, top - PANEL_PIXELS / plotted), top], range,
      title: {text: page.names.length > 1 ? escapeText(shorten(name, 14)) : choice.byRank ? 'rank' : 'score', standoff: 4},
      nticks: 4, gridcolor: '#e6e8eb', zerolinecolor: '#e6e8eb'};
  });
  return layout;
}

/* The heading of a video: its name, duration, and what each file found. */
function headingOf(video) {
  const card = document.createElement('article');
  card.className = 'video';
  card.dataset.video = page.videos[video];
  const title = card.appendChild(document.createElement('h3'));
  title.textContent = page.videos[video];
  const line = card.appendChild(document.createElement('p'));
  const add = text => { line.appendChild(document.createElement('span')).textContent = text; };
  const [from, to] = rowsOf(segments, video);
  add(`${isKnown[video] ? '' : 'at least '}${seconds[video].toFixed(1)} s`);
  page.names.forEach((name, file) => {
    const number = found[file].subarray(from, to).reduce((sum, is) => sum + is, 0);
    add((page.names.length > 1 ? `${name}: ` : '') + `found ${number} of ${to - from}, AP `
      + `${(100 * videoAp[file][video]).toFixed(0)} %`);
  });
  return card;
}

function drawVideo(video, choice, place) {
  const card = place.appendChild(headingOf(video));
  const plot = card.appendChild(document.createElement('div'));
  plot.className = 'timeline';
  const {trace, lanes} = truthTrace(video);
  const traces = page.names.map((_, file) => resultsTrace(video, file, choice));
  const layout = layoutOf(video, lanes, traces.map(bars => bars.x.length), choice);
  plots.push([plot, Plotly.newPlot(plot, [trace, ...traces], layout, PLOT_SETTINGS)]);
}

function drawPage(choice) {
  const place = control('timelines');
  // Plotly goes on drawing for a while: to free a plot before its end would be an error
  for (const [plot, isDrawn] of plots) isDrawn.then(() => Plotly.purge(plot));
  plots = [];
  place.replaceChildren();
  const shown = shownVideos.slice(firstShown, firstShown + VIDEOS_ON_A_PAGE);
  for (const video of shown) drawVideo(video, choice, place);
  control('count').textContent = shown.length
    ? `${shownVideos.length.toLocaleString('en')} of ${page.videos.length.toLocaleString('en')} videos; shown: `
      + `${firstShown + 1} to ${firstShown + shown.length}`
    : `0 of ${page.videos.length.toLocaleString('en')} videos: no video has all of this; choose less, or press Reset`;
  control('previous').disabled = firstShown === 0;
  control('next').disabled = firstShown + VIDEOS_ON_A_PAGE >= shownVideos.length;
}

function update() {
  const choice = readChoice();
  choice.thresholds.forEach((threshold, file) => {
    const kept = ascendingScores[file].length - Math.max(0, ascendingScores[file].findIndex(s => s >= threshold));
    const least = threshold === -Infinity ? 'any' : `at least ${scoreText(threshold)}`;
    control(`score-${file}`).textContent = `${least} (${kept.toLocaleString('en')} results)`;
  });
  shownVideos = chooseVideos(choice);
  firstShown = 0;
  drawPage(choice);
}

function turnPage(by) {
  firstShown += by * VIDEOS_ON_A_PAGE;
  drawPage(readChoice());
  control('count').scrollIntoView();
}

control('filters').addEventListener('input', update);
control('filters').addEventListener('submit', event => event.preventDefault());
control('filters').addEventListener('reset', () => setTimeout(update));  // after the fields have their first values
control('previous').addEventListener('click', () => turnPage(-1));
control('next').addEventListener('click', () => turnPage(1));
document.addEventListener('click', event => {
  const link = event.target.closest('a[data-class]');
  if (link) {
    control('class').value = link.dataset.class;
    update();
  }
});
update();
