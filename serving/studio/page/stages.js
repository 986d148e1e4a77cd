// The kinds of input on the stage; each is a class with open(), changed() for a change of the controls, and close().

export const $ = (id) => document.getElementById(id);
export const form = $('controls');

export function showStatus(text, bad = false) {
  $('status').textContent = text;
  $('status').classList.toggle('bad', bad);
}

// The transferred model's share at each resolution, lowest first; null for a model whose blend is fixed.
export function shares() {
  const bars = [...document.querySelectorAll('#shares input')];
  return bars.length ? bars.map((bar) => bar.valueAsNumber) : null;
}

export function showError(error) {
  if (error.name !== 'AbortError') showStatus(error.message, true);
}

// The header tells the studio that its own page asks; pages of other sites cannot send it.
const PROOF = { 'X-Requested-With': 'toonify-studio' };

export async function request(path, options) {
  const answer = await fetch(path, { ...options, headers: PROOF }).catch((error) => {
    if (error.name === 'AbortError') throw error;
    throw new Error('The studio does not answer; check that its command is still running.');
  });
  if (answer.ok) return answer;
  const body = await answer.json().catch(() => ({}));
  const message = body.error ?? `The studio answers ${answer.status} ${answer.statusText}.`;
  throw Object.assign(new Error(message), { status: answer.status });
}

// Offers a result for download: a blob, a URL, or null for none.
export function offerDownload(result, name = '') {
  URL.revokeObjectURL($('download').href);
  $('download').hidden = !result;
  $('compare').classList.toggle('alone', !result);
  if (!result) return;
  $('download').href = result instanceof Blob ? URL.createObjectURL(result) : result;
  $('download').download = name;
}

// The settings as the studio expects them; ``more`` replaces some.
function controls(more = {}) {
  const { model, editing, seed, strength, psi, look } = form.elements;
  const sliders = [...form.querySelectorAll('#attributes input:not([data-kept])')];
  return JSON.stringify({
    model: model.value || null,
    attributes: editing.checked ? Object.fromEntries(sliders.map((s) => [s.dataset.name, s.valueAsNumber])) : null,
    seed: seed.valueAsNumber,
    strength: strength.valueAsNumber,
    psi: psi.valueAsNumber,
    blend: shares(),
    look: look.value,
    ...more,
  });
}

// Shows on a slider which value of its attribute was read from the face, or that none was.
export function showRead(slider, value) {
  slider.dataset.read = value?.toFixed(2) ?? '';
  slider.defaultValue = value ?? 0.5; // to which a reset moves it
  if (!('kept' in slider.dataset)) return;
  slider.value = slider.defaultValue;
  slider.parentElement.querySelector('output').value = keptText(slider);
}

export const keptText = ({ dataset }) => (dataset.read ? `${dataset.read}, kept` : 'kept');

const send = (path, file, signal, more) =>
  request(`${path}?controls=${encodeURIComponent(controls(more))}`, { method: 'POST', body: file, signal });

const toonName = (file, suffix) => `${file.name.replace(/\.\w+$/, '')}_toon${suffix}`;

function setAspectRatio(width, height) {
  if (width && height) $('compare').style.setProperty('--ratio', width / height);
}

function setSource(media, source) {
  URL.revokeObjectURL(media.src);
  if (source) media.src = source instanceof Blob ? URL.createObjectURL(source) : source;
  else media.removeAttribute('src');
}

async function drawPicture(blob) {
  const bitmap = await createImageBitmap(blob);
  const canvas = $('after-picture');
  [canvas.width, canvas.height] = [bitmap.width, bitmap.height];
  canvas.getContext('2d').drawImage(bitmap, 0, 0);
  bitmap.close();
}

export class Picture {
  kind = 'picture';
  aborter = new AbortController();
  encoded = {}; // the id of the picture's faces in the studio, and the look for which they were found
  own = {}; // settings of its own, in place of the form's

  constructor(file) { this.file = file; }

  open() {
    $('cancel').hidden = true;
    this.showFile();
    return this.changed();
  }

  showFile() {
    const before = $('before-picture');
    before.onload = () => setAspectRatio(before.naturalWidth, before.naturalHeight);
    setSource(before, this.file);
    this.readAttributes().catch(() => {}); // where no face is found, the request for the picture says so
  }

  // Moves the sliders that keep an attribute to what the face shows.
  async readAttributes() {
    const kept = form.querySelectorAll('#attributes input[data-kept]');
    if (!kept.length) return;
    const { file } = this;
    const read = await (await send('/api/attributes', file, this.aborter.signal, this.own)).json();
    if (!this.closed && this.file === file) kept.forEach((slider) => showRead(slider, read[slider.dataset.name]));
  }

  cancel() {
    this.stale = false;
    this.restart();
    showStatus('Cancelled.');
  }

  restart() {
    this.aborter.abort();
    this.aborter = new AbortController();
  }

  // Sends one request at a time; changes of the controls meanwhile are sent together when it is answered. While a blend
  // is dragged, the faces that were encoded once are rendered, in place of the whole picture.
  async changed(dragging = false) {
    if (dragging && !this.dragging && this.busy) this.restart(); // the whole picture may take long
    this.dragging = dragging;
    this.stale = true;
    if (this.busy) return;
    this.busy = true;
    while (this.stale && !this.closed) {
      this.stale = false;
      this.patience = setTimeout(() => { $('cancel').hidden = false; }, 1000);
      await (this.dragging ? this.preview : this.toonify).call(this, this.aborter.signal).catch(showError);
      clearTimeout(this.patience);
      if (!this.closed) $('cancel').hidden = true;
    }
    this.busy = false;
  }

  async toonify(signal) {
    const start = performance.now();
    showStatus('Toonifying …');
    const picture = await this.toon(signal);
    await drawPicture(picture);
    signal.throwIfAborted();
    offerDownload(picture, toonName(this.file, '.png'));
    showStatus(`Done in ${((performance.now() - start) / 1000).toFixed(1)} s.`);
  }

  async preview(signal) {
    const start = performance.now();
    const picture = await this.rendered(signal).catch((error) => {
      if (error.status !== 404) throw error;
      this.encoded = {}; // the studio keeps the faces of the last pictures only
      return this.rendered(signal);
    });
    await drawPicture(picture);
    signal.throwIfAborted();
    offerDownload(picture, toonName(this.file, '.jpg'));
    showStatus(`Rendered in ${(performance.now() - start).toFixed(0)} ms.`);
  }

  async rendered(signal) {
    const look = form.elements.look.value;
    if (this.encoded.look !== look) {
      this.encoded = { look, id: (await (await send('/api/face', this.file, signal)).json()).id };
    }
    return (await send(`/api/face/${this.encoded.id}`, null, signal)).blob();
  }

  async sheet() {
    showStatus('Rendering every r_swap …');
    const sheet = await (await send('/api/sheet', this.file, this.aborter.signal)).blob();
    const link = Object.assign(document.createElement('a'), { href: URL.createObjectURL(sheet) });
    link.download = `${this.file.name.replace(/\.\w+$/, '')}_sheet.png`;
    link.click();
    URL.revokeObjectURL(link.href);
    showStatus('The sheet is among the downloads.');
  }

  async toon(signal) {
    return (await send('/api/picture', this.file, signal)).blob();
  }

  close() {
    this.closed = true;
    clearTimeout(this.patience);
    this.aborter.abort();
    form.querySelectorAll('#attributes input[data-read]').forEach((slider) => showRead(slider, null));
    setSource($('before-picture'), null);
  }
}

// Moves a slider as a person would, which also calls changed().
function setSlider(slider, value) {
  slider.value = value;
  slider.dispatchEvent(new Event('input', { bubbles: true }));
}

// A face that the generator draws; its unedited picture takes the place of a file.
export class RandomFace extends Picture {
  constructor() {
    super(null);
    this.choose();
  }

  choose() {
    this.own = { look: 'aligned', face: Math.floor(Math.random() * 2 ** 32) };
  }

  open() {
    $('cancel').hidden = true;
    setSlider(form.elements.psi, 0.7); // faces far from the average are often broken
  }

  another() {
    this.choose();
    return this.changed();
  }

  async toonify(signal) {
    const { model, psi } = form.elements;
    const { face } = this.own;
    const drawn = [face, model.value, psi.value].join();
    if (this.drawn !== drawn) {
      const picture = await this.sample(signal, { attributes: null, blend: shares()?.map(() => 0) ?? null });
      this.file = new File([picture], `face_${face}.png`, { type: 'image/png' });
      this.drawn = drawn;
      this.showFile();
    }
    await super.toonify(signal);
  }

  preview(signal) {
    return this.toonify(signal); // its code is not that of its picture
  }

  toon(signal) {
    return form.elements.editing.checked || shares() ? this.sample(signal) : this.file;
  }

  async sample(signal, more) {
    return (await send('/api/sample', null, signal, { ...this.own, ...more })).blob();
  }

  close() {
    super.close();
    setSlider(form.elements.psi, form.elements.psi.defaultValue);
  }
}

function waiting({ state, ahead }) {
  if (state !== 'waiting' || !ahead) return 'Starting …';
  return ahead === 1 ? 'Waiting; one clip comes before this one.' : `Waiting; ${ahead} clips come before this one.`;
}

export class Clip {
  kind = 'clip';
  before = $('before-video');
  after = $('after-video');

  constructor(file) { this.file = file; }

  open() {
    const { before, after } = this;
    before.onloadedmetadata = () => setAspectRatio(before.videoWidth, before.videoHeight);
    before.onerror = () => showStatus('This browser cannot play the clip, but the studio may be able to read it.');
    for (const video of [before, after]) {
      video.ontimeupdate = () => this.synchronise();
      video.onplay = video.onpause = () => { $('play').textContent = this.lead.paused ? 'Play' : 'Pause'; };
    }
    setSource(before, this.file);
    this.discard();
    showStatus('Choose the settings, then toonify the clip.');
  }

  changed() {
    if (this.id && !$('start').hidden) showStatus('The controls have changed; toonify the clip again.');
  }

  async start() {
    this.discard();
    this.run = new AbortController();
    this.showWorking(true);
    try {
      await this.toonify(this.run.signal);
      this.showWorking(false);
    } catch (error) {
      showError(error);
      if (error.name !== 'AbortError') this.showWorking(false);
    }
  }

  async toonify(signal) {
    showStatus('Sending the clip …');
    this.id = (await (await send('/api/clip', this.file, signal)).json()).id;
    for (let now = {}; now.state !== 'done'; ) {
      await new Promise((resolve) => setTimeout(resolve, 200));
      now = await (await request(`/api/clip/${this.id}`, { signal })).json();
      if (now.state === 'failed') throw new Error(now.error);
      if (now.total) $('progress').value = now.frames / now.total;
      const left = now.remaining === null ? '' : `, ${Math.ceil(now.remaining)} s to go`;
      const progress = `${now.frames} of ${now.total ?? '?'} frames, ${now.fps.toFixed(1)} a second${left}`;
      showStatus(now.frames ? progress : waiting(now));
    }
    this.before.pause();
    this.lead = this.after;
    setSource(this.after, `/api/clip/${this.id}/result`);
    offerDownload(this.after.src, toonName(this.file, '.mp4'));
    this.after.play().catch(() => {}); // a browser may require a click first
    showStatus('Done.');
  }

  cancel() {
    this.discard();
    showStatus('Cancelled.');
  }

  // Discards the result, so that only the original is shown.
  discard() {
    this.run?.abort();
    if (this.id) request(`/api/clip/${this.id}`, { method: 'DELETE', keepalive: true }).catch(() => {});
    this.id = null;
    this.lead = this.before;
    this.after.pause();
    setSource(this.after, null);
    offerDownload(null);
    this.showWorking(false);
  }

  showWorking(working) {
    $('start').hidden = working;
    $('cancel').hidden = $('progress').hidden = !working;
    $('progress').removeAttribute('value');
  }

  play() {
    if (this.lead.paused) this.lead.play().catch(showError);
    else this.lead.pause();
  }

  seek(part) {
    if (this.lead.duration) this.lead.currentTime = part * this.lead.duration;
  }

  // The result, which has the sound, leads; the original is kept in sync with it.
  synchronise() {
    const { lead, before } = this;
    if (lead.duration) $('seek').value = lead.currentTime / lead.duration;
    if (lead === before) return;
    if (Math.abs(before.currentTime - lead.currentTime) > 0.05) before.currentTime = lead.currentTime;
    if (lead.paused) before.pause();
    else before.play().catch(() => {});
  }

  close() {
    this.discard();
    for (const video of [this.before, this.after]) {
      video.onerror = video.ontimeupdate = video.onplay = video.onpause = null;
      video.pause();
      setSource(video, null);
    }
  }
}

export class Camera {
  kind = 'camera';
  video = $('before-video');

  async open() {
    if (!navigator.mediaDevices) throw new Error('Browsers allow the webcam only to pages on localhost or HTTPS.');
    showStatus('Waiting for the webcam …');
    this.media = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 640 }, height: { ideal: 480 } } });
    if (this.closed) return this.close();
    this.video.srcObject = this.media;
    await this.video.play();
    setAspectRatio(this.video.videoWidth, this.video.videoHeight);
    this.stream = new WebSocket(`${location.origin.replace('http', 'ws')}/api/camera`);
    this.stream.onopen = () => { this.changed(); this.send(); };
    this.stream.onmessage = ({ data }) => this.receive(data).catch(showError);
    this.stream.onclose = () => {
      if (this.closed) return;
      showStatus(this.error ?? 'The studio has ended the stream.', true);
      this.close();
    };
  }

  changed() {
    if (this.stream?.readyState === WebSocket.OPEN) this.stream.send(controls());
  }

  // The next frame is sent when the answer to the last one has come; frames in between are never sent.
  send() {
    this.sent = performance.now();
    const [width, height] = [this.video.videoWidth, this.video.videoHeight];
    const canvas = Object.assign(document.createElement('canvas'), { width, height });
    canvas.getContext('2d').drawImage(this.video, 0, 0);
    canvas.toBlob((frame) => this.closed || this.stream.send(frame), 'image/jpeg', 0.9);
  }

  async receive(data) {
    if (typeof data === 'string') {
      Object.assign(this, JSON.parse(data)); // sets this.faces, or this.error before the stream ends
      return;
    }
    await drawPicture(data);
    if (this.closed) return;
    offerDownload(data, 'webcam_toon.jpg');
    const took = performance.now() - this.sent;
    this.pace = this.pace ? 0.9 * this.pace + 0.1 * took : took;
    showStatus(`${(1000 / this.pace).toFixed(1)} frames a second${this.faces ? '' : ', no face in sight'}`);
    this.send();
  }

  close() {
    this.closed = true;
    this.stream?.close();
    this.media?.getTracks().forEach((track) => track.stop());
    this.video.srcObject = null;
  }
}
