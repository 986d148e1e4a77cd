// A clip or a webcam on the stage; a stage has open(), changed() for a change of the controls, and close().

import {
  $, showStatus, showError, request, offerDownload, controls, send, toonName, setAspectRatio, setSource,
  drawPicture,
} from './page.js';

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
