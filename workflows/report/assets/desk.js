// -- the listening desk ------------------------------------------------------------------------------------------------

const desk = {shown: [], at: 0, page: 0, more: false, told: '', asked: 0, audio: null, soon: false, frame: 0, marks: {}};
const memory = `silver:${data.served ? data.served.corpus : location.pathname}`;
try { desk.marks = JSON.parse(localStorage.getItem(memory)) || {}; } catch { /* a browser without storage forgets with the tab */ }
const remember = () => { try { localStorage.setItem(memory, JSON.stringify(desk.marks)); } catch { /* as above */ } };
const markOf = clip => desk.marks[clip.id] || {verdict: '', corrected: clip.text, note: ''};
const isMarked = clip => { const mark = markOf(clip); return Boolean(mark.verdict || mark.note || mark.corrected !== clip.text); };
const shortMark = clip => { const mark = markOf(clip); return mark.verdict || (mark.corrected !== clip.text ? 'corrected' : mark.note ? 'note' : ''); };
const values = () => Object.fromEntries(new FormData($('#filters')));
const tell = () => { $('#count').textContent = `${desk.told}, ${source.marked(() => true).length} marked`; };

function filters() {
  const form = $('#filters');
  for (const other of document.querySelectorAll(data.served ? '[data-alone]' : '[data-served]')) other.remove();
  const options = (name, pairs, all) => form.elements[name].append(element('option', {value: ''}, all), ...pairs.map(([value, text]) => element('option', {value}, text)));
  const {reasons, languages, channels, signals} = source.controls();
  options('reason', reasons, 'all');
  options('language', languages.map(name => [name, name]), 'all');
  if (data.served) {
    options('signal', signals.map(name => [name, name]), 'any');
    $('#names').append(...channels.map(value => element('option', {value})));
    $('#previous').addEventListener('click', () => list(desk.page - 1));
    $('#next').addEventListener('click', () => list(desk.page + 1));
  } else options('channel', channels.map(name => [name, name]), 'all');
  form.addEventListener('submit', event => event.preventDefault());
  let soon = 0;
  const later = event => {
    clearTimeout(soon);
    soon = setTimeout(list, event.target.tagName === 'SELECT' ? 0 : source.patience);
  };
  form.addEventListener('input', later);
  form.addEventListener('change', event => { if (event.target.tagName === 'SELECT') later(event); });  // some tools change a choice without input
  list();
}

async function list(page = 0, at = 0) {
  const asked = ++desk.asked, wanted = values();
  if (data.served) $('#count').textContent = 'Looking …';
  let found;
  try { found = await source.find(wanted, page); } catch (error) { found = {clips: [], told: error.message}; }
  if (asked !== desk.asked) return;  // somebody asked for something else in the meantime
  Object.assign(desk, {shown: found.clips, page, more: Boolean(found.more), told: found.told});
  tell();
  $('#list').replaceChildren(...desk.shown.map((clip, place) => element('li', {}, entry(clip, place))));
  if (data.served) {
    $('#place').textContent = `page ${page + 1}`;
    $('#previous').disabled = page === 0;
    $('#next').disabled = !desk.more;
    source.count(wanted).then(told => { if (asked === desk.asked) { desk.told = told; tell(); } }, () => {});
  }
  open(at < 0 ? desk.shown.length - 1 : at);
}

function step(by) {
  const next = desk.at + by;
  if (next >= 0 && next < desk.shown.length) open(next);
  else if (next < 0 && desk.page > 0) list(desk.page - 1, -1);
  else if (next > 0 && desk.more) list(desk.page + 1);
}

function entry(clip, place) {
  return element('button', {type: 'button', 'data-mark': shortMark(clip) || null, onclick: () => open(place)},
    element('span', {dir: 'auto'}, clip.shown || '(no text)'),
    element('small', {}, `${clip.language || ''} ${clip.reasons.join(', ')} ${number(clip.duration, 1)} s`));
}

async function open(place) {
  stop();
  const clip = desk.shown[place];
  desk.at = place;
  desk.audio = null;
  desk.soon = false;
  if (!clip) { $('#card').replaceChildren(element('p', {}, 'No segment is like that.')); return; }
  [...$('#list').querySelectorAll('button')].forEach((button, index) => {
    if (index === place) { button.setAttribute('aria-current', 'true'); reveal(button); } else button.removeAttribute('aria-current');
  });
  await source.sound(clip);
  if (desk.shown[desk.at] !== clip) return;  // somebody went on while it was cut
  $('#card').replaceChildren(...card(clip));
  if (desk.soon) play();
}

function reveal(line) {  // in the list alone: the page itself stays where it is
  const lines = $('#list'), top = line.offsetTop - lines.offsetTop;
  lines.scrollTop = Math.max(top + line.offsetHeight - lines.clientHeight, Math.min(lines.scrollTop, top));
}

function link(uri) {
  return /^https?:\/\//i.test(uri || '') ? element('a', {href: uri, rel: 'noopener noreferrer', target: '_blank'}, uri) : document.createTextNode(uri || '');
}

function card(clip) {
  const kept = clip.reasons[0] === 'kept';
  const parts = [
    element('h3', {}, clip.title || clip.id),
    element('p', {}, element('small', {}, `${clip.id} — ${[clip.channel, clip.speaker, clip.language, clip.licence].filter(Boolean).join(', ')} — at ${clock(clip.start)} of `, link(clip.source))),
    element('p', {class: `verdict ${kept ? 'kept' : 'lost'}`}, kept ? `kept${clip.shard ? ', ' + clip.shard : ''}` : `dropped by ${clip.stage}: ${clip.reasons.join(', ')}`),
  ];
  if (clip.detail) parts.push(element('p', {}, element('small', {}, clip.detail)));
  if (clip.audio) parts.push(...player(clip));
  else parts.push(element('p', {}, `No audio: ${clip.why}`));
  parts.push(spoken(clip));
  for (const label of clip.labels) {
    parts.push(element('p', {dir: 'auto'}, element('small', {}, `${label.labeller}: `),
      ...label.runs.flatMap(([change, text]) => [change === 'same' ? text : element(change === 'gone' ? 'del' : 'ins', {class: change}, text), ' '])));
  }
  parts.push(...marks(clip));
  if (clip.signals.length) parts.push(element('details', {open: true}, element('summary', {}, 'Signals against thresholds'), element('div', {class: 'scroll'}, measured(clip))));
  return parts;
}

function player(clip) {
  const audio = element('audio', {controls: true, preload: 'auto', src: clip.audio, 'aria-label': 'the segment'});
  const wave = drawn('svg', {class: 'wave', viewBox: `0 0 ${clip.peaks.length} 100`, preserveAspectRatio: 'none', role: 'img', 'aria-label': 'Waveform; the words below seek'});
  clip.peaks.forEach((peak, place) => wave.append(drawn('rect', {x: place, y: 50 - peak / 2, width: .8, height: Math.max(1, peak)})));
  wave.addEventListener('click', event => {
    const box = wave.getBoundingClientRect();
    if (audio.duration) audio.currentTime = audio.duration * (event.clientX - box.left) / box.width;
  });
  const follow = () => {
    cancelAnimationFrame(desk.frame);  // of the frame before, if an event came between: one loop, not one more an event
    const now = audio.currentTime, share = now / (audio.duration || clip.duration || 1);
    [...wave.children].forEach((bar, place) => bar.classList.toggle('played', place / clip.peaks.length < share));
    for (const word of document.querySelectorAll('.spoken button')) {
      word.classList.toggle('now', now >= Number(word.dataset.start) && now < Number(word.dataset.end));
    }
    desk.frame = audio.paused ? 0 : requestAnimationFrame(follow);
  };
  audio.addEventListener('play', follow);
  audio.addEventListener('seeked', follow);
  audio.addEventListener('timeupdate', follow);
  desk.audio = audio;
  return [wave, audio];
}

function play() {
  if (!desk.audio) desk.soon = true;  // as soon as it is here
  else if (desk.audio.paused) desk.audio.play().catch(() => {});
  else desk.audio.pause();
}

function stop() {
  cancelAnimationFrame(desk.frame);
  if (desk.audio) desk.audio.pause();
}

function spoken(clip) {
  const line = element('p', {class: 'spoken', dir: 'auto', lang: clip.language});
  const timed = clip.words.filter(([, start]) => start !== null);
  if (!timed.length) { line.append(clip.shown); return line; }
  for (const [word, start, end, score] of clip.words) {
    line.append(element('button', {type: 'button', class: score !== null && score < .5 ? 'unsure' : null, 'data-start': start ?? -1, 'data-end': end ?? -1,
      title: score === null ? null : `${number(start, 2)} s, score ${number(score, 3)}`,
      onclick: () => { if (desk.audio && start !== null) { desk.audio.currentTime = start; desk.audio.play().catch(() => {}); } }}, word), ' ');
  }
  return line;
}

function marks(clip) {
  const mark = markOf(clip);
  const button = (verdict, text) => element('button', {type: 'button', value: verdict, 'aria-pressed': String(mark.verdict === verdict), onclick: () => judge(verdict)}, text);
  const text = element('textarea', {id: 'corrected', rows: 2, dir: 'auto', oninput: event => change({corrected: event.target.value})});
  text.value = mark.corrected;
  const note = element('input', {id: 'note', size: 40, oninput: event => change({note: event.target.value})});
  note.value = mark.note;
  return [
    element('div', {class: 'marks', role: 'group', 'aria-label': 'Is the label right?'}, button('right', 'Right'),
      element('button', {type: 'button', value: 'wrong', onclick: () => text.focus()}, 'Wrong: write what is said'), button('unusable', 'Unusable')),
    element('label', {class: 'wide'}, 'What is said (the label, normalised) ', text),
    element('label', {class: 'wide'}, 'Note ', note),
  ];
}

function change(what) {
  const clip = desk.shown[desk.at];
  if (!clip) return;
  const {language, channel, text} = clip;
  desk.marks[clip.id] = {...markOf(clip), ...what, about: {language, channel, text}};
  if (!isMarked(clip)) delete desk.marks[clip.id];
  remember();
  const button = $('#list').querySelectorAll('button')[desk.at];
  if (shortMark(clip)) button.setAttribute('data-mark', shortMark(clip)); else button.removeAttribute('data-mark');
  tell();
}

function judge(verdict) {
  const clip = desk.shown[desk.at];
  if (!clip) return;
  change({verdict: markOf(clip).verdict === verdict ? '' : verdict});
  for (const button of $('#card .marks').querySelectorAll('[aria-pressed]')) button.setAttribute('aria-pressed', String(markOf(clip).verdict === button.value));
}

function measured(clip) {
  const line = ({name, value, rules}) => element('tr', {}, element('td', {}, name), element('td', {}, typeof value === 'number' ? number(value, 4) : String(value)),
    element('td', {class: 'words'}, ...rules.flatMap(rule => [element('span', {class: rule.passed === false ? 'failed' : rule.passed ? 'passed' : null},
      `${rule.passed === false ? '✗' : rule.passed ? '✓' : '·'} ${rule.name}: ${rule.is}`), element('br')])));
  return element('table', {}, element('thead', {}, element('tr', {}, element('th', {scope: 'col'}, 'signal'), element('th', {scope: 'col'}, 'value'), element('th', {scope: 'col', class: 'words'}, 'rules that read it'))),
    element('tbody', {}, ...clip.signals.map(line)));
}

// The sheet that `silver audit --read` takes; no cell is ever a formula to a spreadsheet.
const safe = text => /^[=+\-@\t\r']/.test(text) ? `'${text}` : text;
const cell = text => `"${safe(String(text ?? '')).replaceAll('"', '""')}"`;
function sheet() {
  const lines = source.marked(clip => desk.shown.includes(clip)).map(clip => {
    const mark = markOf(clip);
    const values = {segment_id: clip.id, language: clip.language, channel: clip.channel, text: clip.text,
      corrected: mark.corrected === clip.text ? '' : mark.corrected, verdict: mark.verdict, note: mark.note};
    return data.sheet.map(name => cell(values[name])).join(',');
  });
  return [data.sheet.join(','), ...lines].join('\n') + '\n';
}
function save() {
  const url = URL.createObjectURL(new Blob([sheet()], {type: 'text/csv'}));
  const anchor = element('a', {href: url, download: 'marks.csv'});
  document.body.append(anchor);
  anchor.click();
  anchor.remove();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

function keys(event) {
  const writing = ['TEXTAREA', 'INPUT', 'SELECT'].includes(event.target.tagName);
  if (writing) { if (event.key === 'Escape') { event.target.blur(); $('#desk').focus({preventScroll: true}); } return; }
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const act = {
    n: () => step(1), b: () => step(-1),
    p: play,
    r: () => judge('right'), u: () => judge('unusable'), w: () => $('#corrected')?.focus(), e: () => $('#note')?.focus(),
  }[event.key];
  if (act) { event.preventDefault(); act(); }
}
