// What can be on the stage, each a class with open(), changed() for controls that were moved, and close().

export const $ = (id) => document.getElementById(id);
export const form = $('controls');

export function say(text, bad = false) {
  $('status').textContent = text;
  $('status').classList.toggle('bad', bad);
}

export function complain(error) {
  if (error.name !== 'AbortError') say(error.message, true);
}

export async function ask(path, options) {
  const answer = await fetch(path, options).catch((error) => {
    if (error.name === 'AbortError') throw error;
    throw new Error('The studio does not answer; see whether its command is still running.');
  });
  if (answer.ok) return answer;
  const said = await answer.json().catch(() => ({}));
  throw new Error(said.error ?? `The studio answers ${answer.status} ${answer.statusText}.`);
}

// What can be downloaded: a blob, an address, or nothing.
export function offer(result, name = '') {
  URL.revokeObjectURL($('download').href);
  $('download').hidden = !result;
  $('compare').classList.toggle('alone', !result);
  if (!result) return;
  $('download').href = result instanceof Blob ? URL.createObjectURL(result) : result;
  $('download').download = name;
}

function controls() {
  const { model, editing, seed, strength, psi, look } = form.elements;
  const sliders = [...form.querySelectorAll('#attributes input')];
  return JSON.stringify({
    model: model.value || null,
    attributes: editing.checked ? Object.fromEntries(sliders.map((s) => [s.dataset.name, s.valueAsNumber])) : null,
    seed: seed.valueAsNumber,
    strength: strength.valueAsNumber,
    psi: psi.valueAsNumber,
    look: look.value,
  });
}

const send = (path, file, signal) =>
  ask(`${path}?controls=${encodeURIComponent(controls())}`, { method: 'POST', body: file, signal });

const toonName = (file, suffix) => `${file.name.replace(/\.\w+$/, '')}_toon${suffix}`;

function shape(width, height) {
  if (width && height) $('compare').style.setProperty('--ratio', width / height);
}

function load(media, source) {
  URL.revokeObjectURL(media.src);
  if (source) media.src = source instanceof Blob ? URL.createObjectURL(source) : source;
  else media.removeAttribute('src');
}

async function paint(blob) {
  const bitmap = await createImageBitmap(blob);
  const canvas = $('after-picture');
  [canvas.width, canvas.height] = [bitmap.width, bitmap.height];
  canvas.getContext('2d').drawImage(bitmap, 0, 0);
  bitmap.close();
}

export class Picture {
  kind = 'picture';
  gone = new AbortController();

  constructor(file) { this.file = file; }

  open() {
    const before = $('before-picture');
    before.onload = () => shape(before.naturalWidth, before.naturalHeight);
    load(before, this.file);
    return this.changed();
  }

  // One request at a time; controls that move meanwhile are asked for together when it is answered.
  async changed() {
    this.stale = true;
    if (this.busy) return;
    this.busy = true;
    while (this.stale && !this.gone.signal.aborted) {
      this.stale = false;
      await this.toonify().catch(complain);
    }
    this.busy = false;
  }

  async toonify() {
    const start = performance.now();
    say('Toonifying …');
    const picture = await (await send('/api/picture', this.file, this.gone.signal)).blob();
    await paint(picture);
    this.gone.signal.throwIfAborted();
    offer(picture, toonName(this.file, '.png'));
    say(`Done in ${((performance.now() - start) / 1000).toFixed(1)} s.`);
  }

  close() {
    this.gone.abort();
    load($('before-picture'), null);
  }
}

export class Clip {
  kind = 'clip';
  before = $('before-video');
  after = $('after-video');

  constructor(file) { this.file = file; }

  open() {
    const { before, after } = this;
    before.onloadedmetadata = () => shape(before.videoWidth, before.videoHeight);
    before.onerror = () => say('This browser cannot play the clip; the studio may be able to read it all the same.');
    for (const video of [before, after]) {
      video.ontimeupdate = () => this.follow();
      video.onplay = video.onpause = () => { $('play').textContent = this.lead.paused ? 'Play' : 'Pause'; };
    }
    load(before, this.file);
    this.forget();
    say('Choose how it shall look, then toonify it.');
  }

  changed() {
    if (this.id && !$('start').hidden) say('The controls have changed; toonify the clip again to see it.');
  }

  async start() {
    this.forget();
    this.run = new AbortController();
    this.working(true);
    try {
      await this.toonify(this.run.signal);
      this.working(false);
    } catch (error) {
      complain(error);
      if (error.name !== 'AbortError') this.working(false);
    }
  }

  async toonify(signal) {
    say('Sending the clip …');
    this.id = (await (await send('/api/clip', this.file, signal)).json()).id;
    for (let now = {}; now.state !== 'done'; ) {
      await new Promise((resolve) => setTimeout(resolve, 200));
      now = await (await ask(`/api/clip/${this.id}`, { signal })).json();
      if (now.state === 'failed') throw new Error(now.error);
      if (now.total) $('progress').value = now.frames / now.total;
      const left = now.remaining === null ? '' : `, ${Math.ceil(now.remaining)} s to go`;
      say(now.frames ? `${now.frames} of ${now.total ?? '?'} frames, ${now.fps.toFixed(1)} a second${left}` : 'Starting …');
    }
    this.before.pause();
    this.lead = this.after;
    load(this.after, `/api/clip/${this.id}/result`);
    offer(this.after.src, toonName(this.file, '.mp4'));
    this.after.play().catch(() => {}); // a browser may want a click first
    say('Done.');
  }

  cancel() {
    this.forget();
    say('Cancelled.');
  }

  // Back to the original alone.
  forget() {
    this.run?.abort();
    if (this.id) ask(`/api/clip/${this.id}`, { method: 'DELETE', keepalive: true }).catch(() => {});
    this.id = null;
    this.lead = this.before;
    this.after.pause();
    load(this.after, null);
    offer(null);
    this.working(false);
  }

  working(working) {
    $('start').hidden = working;
    $('cancel').hidden = $('progress').hidden = !working;
    $('progress').removeAttribute('value');
  }

  play() {
    if (this.lead.paused) this.lead.play().catch(complain);
    else this.lead.pause();
  }

  seek(part) {
    if (this.lead.duration) this.lead.currentTime = part * this.lead.duration;
  }

  // The result leads, with the sound; the original is kept beside it.
  follow() {
    const { lead, before } = this;
    if (lead.duration) $('seek').value = lead.currentTime / lead.duration;
    if (lead === before) return;
    if (Math.abs(before.currentTime - lead.currentTime) > 0.05) before.currentTime = lead.currentTime;
    if (lead.paused) before.pause();
    else before.play().catch(() => {});
  }

  close() {
    this.forget();
    for (const video of [this.before, this.after]) {
      video.onerror = video.ontimeupdate = video.onplay = video.onpause = null;
      video.pause();
      load(video, null);
    }
  }
}

export class Camera {
  kind = 'camera';
  video = $('before-video');

  async open() {
    if (!navigator.mediaDevices) throw new Error('Browsers show the webcam to pages on localhost or HTTPS only.');
    say('Waiting for the webcam …');
    this.media = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 640 }, height: { ideal: 480 } } });
    if (this.closed) return this.close();
    this.video.srcObject = this.media;
    await this.video.play();
    shape(this.video.videoWidth, this.video.videoHeight);
    this.stream = new WebSocket(`${location.origin.replace('http', 'ws')}/api/camera`);
    this.stream.onopen = () => { this.changed(); this.send(); };
    this.stream.onmessage = ({ data }) => this.take(data).catch(complain);
    this.stream.onclose = () => this.closed || (say(this.error ?? 'The studio has ended the stream.', true), this.close());
  }

  changed() {
    if (this.stream?.readyState === WebSocket.OPEN) this.stream.send(controls());
  }

  // The next frame goes when the last one is back: what the webcam shows in between is never sent.
  send() {
    this.sent = performance.now();
    const [width, height] = [this.video.videoWidth, this.video.videoHeight];
    const canvas = Object.assign(document.createElement('canvas'), { width, height });
    canvas.getContext('2d').drawImage(this.video, 0, 0);
    canvas.toBlob((frame) => this.closed || this.stream.send(frame), 'image/jpeg', 0.9);
  }

  async take(data) {
    if (typeof data === 'string') {
      Object.assign(this, JSON.parse(data)); // faces, or an error before the end
      return;
    }
    await paint(data);
    if (this.closed) return;
    offer(data, 'webcam_toon.jpg');
    const took = performance.now() - this.sent;
    this.pace = this.pace ? 0.9 * this.pace + 0.1 * took : took;
    say(`${(1000 / this.pace).toFixed(1)} frames a second${this.faces ? '' : ', no face in sight'}`);
    this.send();
  }

  close() {
    this.closed = true;
    this.stream?.close();
    this.media?.getTracks().forEach((track) => track.stop());
    this.video.srcObject = null;
  }
}
