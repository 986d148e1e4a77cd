// A picture or a random face on the stage; a stage has open(), changed() for a change of the controls, and close().

import {
  $, form, showStatus, shares, showError, offerDownload, showRead, send, toonName, setAspectRatio, setSource,
  drawPicture,
} from './page.js';

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

// A face that the generator draws from a code; its unedited picture takes the place of a file. A subclass has the name of
// the face, and drawn(), which asks the studio for its picture.
export class DrawnFace extends Picture {
  own = { look: 'aligned' };

  constructor() { super(null); }

  open() {
    $('cancel').hidden = true;
    return this.changed();
  }

  async toonify(signal) {
    const { model, psi } = form.elements;
    const unedited = [this.name, model.value, psi.value].join();
    if (this.unedited !== unedited) {
      const picture = await this.drawn(signal, { attributes: null, blend: shares()?.map(() => 0) ?? null });
      this.file = new File([picture], `${this.name}.png`, { type: 'image/png' });
      this.unedited = unedited;
      this.showFile();
    }
    await super.toonify(signal);
  }

  preview(signal) {
    return this.toonify(signal); // its code is not that of its picture
  }

  toon(signal) {
    return form.elements.editing.checked || shares() ? this.drawn(signal) : this.file;
  }
}

export class RandomFace extends DrawnFace {
  constructor() {
    super();
    this.choose();
  }

  choose() {
    this.own = { look: 'aligned', face: Math.floor(Math.random() * 2 ** 32) };
    this.name = `face_${this.own.face}`;
  }

  open() {
    $('cancel').hidden = true;
    setSlider(form.elements.psi, 0.7); // faces far from the average are often broken
  }

  another() {
    this.choose();
    return this.changed();
  }

  async drawn(signal, more) {
    return (await send('/api/sample', null, signal, { ...this.own, ...more })).blob();
  }

  close() {
    super.close();
    setSlider(form.elements.psi, form.elements.psi.defaultValue);
  }
}

// The first code of a file of codes.
export class CodeFile extends DrawnFace {
  constructor(codes) {
    super();
    this.codes = codes;
    this.name = codes.name.replace(/\.\w+$/, '');
  }

  async drawn(signal, more) {
    return (await send('/api/codes', this.codes, signal, { ...this.own, ...more })).blob();
  }
}
