// -- where the segments of the desk come from: the page itself, or the server that gave it -------------------------------

const inPage = {
  patience: 0,
  controls() {
    const count = {};
    for (const clip of data.clips) for (const reason of clip.reasons) count[reason] = (count[reason] || 0) + 1;
    const names = Object.keys(count).sort((a, b) => (b === 'kept') - (a === 'kept') || a.localeCompare(b));
    const distinct = key => [...new Set(data.clips.map(clip => clip[key]).filter(Boolean))].sort();
    return {reasons: names.map(name => [name, `${name} (${count[name]})`]), languages: distinct('language'), channels: distinct('channel')};
  },
  async find({reason, language, channel, marked, words}) {
    const low = words.toLowerCase();
    const clips = data.clips.filter(clip =>
      (!reason || clip.reasons.includes(reason)) && (!language || clip.language === language) &&
      (!channel || clip.channel === channel) && (!marked || isMarked(clip) === (marked === 'yes')) &&
      (!low || `${clip.shown} ${clip.text} ${clip.title} ${clip.id}`.toLowerCase().includes(low)));
    return {clips, told: `${clips.length} of ${data.clips.length} segments`};
  },
  async sound() {},
  marked: among => data.clips.filter(clip => isMarked(clip) && among(clip)),
};

async function answer(path) {
  let reply;
  try { reply = await fetch(path); } catch { throw new Error('The server does not answer: has it been stopped?'); }
  if (!reply.ok) throw new Error((await reply.text()).trim() || reply.statusText);
  return reply.json();
}

const atServer = {
  patience: 300,
  controls: () => ({...data.served, reasons: ['kept', ...data.served.reasons].map(name => [name, name])}),
  async find(wanted, page) {
    const found = await answer(`segments?${new URLSearchParams({...wanted, page})}`);
    return {...found, told: `${found.clips.length} segments on this page`};
  },
  async count(wanted) {
    const {segments, hours} = await answer(`count?${new URLSearchParams(wanted)}`);
    return `${number(segments)} segments, ${number(hours)} h`;
  },
  async sound(clip) {
    if (clip.peaks) return;
    const key = encodeURIComponent(clip.key);
    try {
      const {peaks, why, audio} = await answer(`sound/${key}`);
      Object.assign(clip, {peaks, why, audio: audio ? `audio/${key}` : null});
    } catch (error) { Object.assign(clip, {why: error.message, audio: null}); }
  },
  marked: () => Object.entries(desk.marks).map(([id, mark]) => ({id, ...mark.about})),
};

const source = data.served ? atServer : inPage;

filters();
$('#save').addEventListener('click', save);
document.addEventListener('keydown', keys);
