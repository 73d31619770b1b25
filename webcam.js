// The browser's half of the widget in webcam.py: it owns the camera, and draws what Python finds.
//
// One picture is under way at any time: it is sent as JPEG, and only its answer lets the next one go, which is
// then the newest there is. There is one camera per widget, however often the widget is displayed, and many
// ways in which it must go off; all of them end in stop().

const TICK_MS = 8;            // after a picture, see tick()
const TRIAL = 20;             // pictures after each start without ticks, and as many with them
const WINDOW_MS = 5000;       // over which delay and rate are taken
const MOST_FAILURES = 5;      // answers in a row with an error, then the camera goes off
const UNCERTAIN = 0.7;        // a label less probable than this gets a question mark, as helpers.draw does it
const CONSENT = "Start turns on the camera of this browser. Its pictures go from here to the Python kernel of this "
  + "notebook, which looks for faces. Nothing is stored: Python keeps only the newest picture, in memory. "
  + "Ask everyone whom the camera can see.";

// ---------------------------------------------------------------- what went wrong, and the way out

function whyNoCamera() {
  if (!window.isSecureContext) {
    const port = location.port || "80";
    return `The browser hides its camera from this page, which came over plain http from ${location.hostname}. `
      + `Use https, or run "ssh -L ${port}:localhost:${port} ${location.hostname}" on your own computer and open `
      + `http://localhost:${port} there.`;
  }
  const policy = document.permissionsPolicy ?? document.featurePolicy;
  if (policy && !policy.allowsFeature("camera")) {
    return "This viewer does not let notebooks use a camera. Open JupyterLab in a browser tab of its own.";
  }
  if (!navigator.mediaDevices?.getUserMedia) {
    return "This browser or viewer offers no camera. Open the notebook in JupyterLab, in a recent Chrome, Edge, "
      + "Firefox or Safari.";
  }
  return "";
}

function explain(problem) {
  const sentences = {
    NotAllowedError: "The camera was not allowed. Click the camera sign or the lock beside the address and allow it "
      + "(in the system's privacy settings too; inside an editor or another page, open JupyterLab in a browser tab of "
      + "its own), then press Retry.",
    NotFoundError: "The browser finds no camera. Connect one, or switch it on, then press Retry.",
    NotReadableError: "The camera is in use by another program or tab. Close that one, then press Retry.",
    OverconstrainedError: "The camera can't give pictures of this size. Make the widget with another size, "
      + "such as Webcam(width=640, height=480), then press Start.",
  };
  const other = `The camera did not start (${problem.name}: ${problem.message}). Close other programs that use it, `
    + "then press Retry.";
  return whyNoCamera() || (sentences[problem.name] ?? other);
}

// ---------------------------------------------------------------- the camera

function makeCamera(model) {
  const views = new Set();
  const video = document.createElement("video");     // pictures are taken from this one; views have their own
  video.muted = video.playsInline = true;
  let canvas = null, pen = null;
  let stream = null;
  let turn = 0;               // grows with each start and stop: what awaits something sees that it is outdated
  let sent = null;            // the picture under way: {number, time}
  let fresh = false;          // did the camera give a picture since the last one that was sent?
  let number = Math.floor(Math.random() * 2 ** 40);  // other pages get all answers too, and must not take ours
  let failures = 0, answers = [], trial = [], timer = 0, hiddenTimer = 0;
  // What the displays show; size is that of the pictures sent, numbers are {delay, rate}.
  const camera = { state: "off", text: CONSENT, failed: false, stream: null, faces: [], size: [16, 9], numbers: null };

  // Tells the displays and Python about a new state: "off", "starting" or "on".
  function report(state, text, failed) {
    Object.assign(camera, { state, text, failed });
    views.forEach(view => view.update());
    try {
      model.set("state", state);
      model.set("error", failed ? text : "");
      model.save_changes();
    } catch { /* the kernel is gone: then nobody needs the report */ }
  }

  function end(someStream) { someStream?.getTracks().forEach(track => track.stop()); }

  function median(list) { return [...list].sort((a, b) => a - b)[list.length >> 1]; }

  function stop(text = CONSENT, failed = false) {
    turn += 1;
    clearInterval(timer);
    clearTimeout(hiddenTimer);
    document.removeEventListener("visibilitychange", watchPage);
    end(stream);
    stream = sent = camera.stream = video.srcObject = null;
    camera.faces = [];
    report("off", text, failed);
  }

  async function start() {
    if (camera.state !== "off") return;
    const mine = ++turn;
    report("starting", "Starting the camera. The browser may ask whether this page may use it.", false);
    const limit = model.get("start_limit");
    const alarm = setTimeout(() => mine === turn && stop(`The camera did not start within ${limit} seconds. Look for a `
      + "question of the browser, often near the address, and answer it; close other programs that use the camera; "
      + "then press Retry.", true), limit * 1000);
    try {
      const why = whyNoCamera();
      if (why) return stop(why, true);
      const size = { width: { ideal: model.get("width") }, height: { ideal: model.get("height") } };
      const wish = { video: { ...size, facingMode: "user" }, audio: false };
      const given = await navigator.mediaDevices.getUserMedia(wish);
      if (mine !== turn) return end(given);          // stopped meanwhile
      stream = given;
      stream.getVideoTracks().forEach(track => track.addEventListener("ended", () => mine === turn
        && stop("The camera went away: it was unplugged, or blocked. Connect or allow it, then press Retry.", true)));
      video.srcObject = stream;
      await video.play();
      if (mine !== turn) return;                     // stop() ended the stream
      canvas = new OffscreenCanvas(16, 16);
      pen = canvas.getContext("2d");
      [sent, fresh, failures, answers, trial] = [null, false, 0, [], []];
      [camera.stream, camera.numbers] = [stream, null];
      timer = setInterval(watchKernel, 200);
      document.addEventListener("visibilitychange", watchPage);
      watchPage();
      report("on", "", false);
      nextPicture(mine);
    } catch (problem) {
      if (mine === turn) stop(explain(problem), true);
    } finally {
      clearTimeout(alarm);
    }
  }

  // A kernel that was restarted or shut down says nothing at all to its widgets. Only silence tells.
  function watchKernel() {
    const patience = model.get("patience");
    if (sent && performance.now() - sent.time > patience * 1000) {
      stop(`No answer from the kernel for ${patience} seconds, so the camera was turned off. The kernel is busy, or `
        + "was restarted or shut down. Wait until it is idle and press Retry; after a restart run all cells again.",
        true);
    }
  }

  function watchPage() {
    clearTimeout(hiddenTimer);
    if (!document.hidden) return;
    const limit = model.get("hidden_limit");
    hiddenTimer = setTimeout(() => stop(`The page was out of sight for ${limit} seconds, so the camera was turned off. `
      + "Press Start to go on."), limit * 1000);
  }

  function nextPicture(mine) {
    const wait = video.requestVideoFrameCallback ? f => video.requestVideoFrameCallback(f) : requestAnimationFrame;
    wait(() => {
      if (mine !== turn) return;
      fresh = true;
      send();
      nextPicture(mine);
    });
  }

  async function send() {
    if (sent || !fresh || !stream) return;
    const mine = turn;
    // Stamped before the wait for the JPEG: from here on this picture is under way, and its time counts.
    const picture = sent = { number: ++number, time: performance.now() };
    fresh = false;
    try {
      const scale = Math.min(model.get("width") / video.videoWidth, model.get("height") / video.videoHeight, 1);
      const [width, height] = [video.videoWidth, video.videoHeight].map(side => Math.max(Math.round(side * scale), 1));
      if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
      pen.drawImage(video, 0, 0, width, height);
      const jpeg = await canvas.convertToBlob({ type: "image/jpeg", quality: model.get("quality") });
      const bytes = await jpeg.arrayBuffer();
      if (mine !== turn) return;                     // stopped meanwhile: nobody gets this picture
      camera.size = [width, height];
      // Not called "id": ipykernel 7 takes an id for a question, and keeps it until somebody answers it.
      const content = { kind: "frame", number: picture.number, ...camera.numbers };
      model.send(content, undefined, [bytes]);
      if (tick()) setTimeout(() => { if (sent === picture) model.send({ kind: "tick" }); }, TICK_MS);
    } catch (problem) {
      const text = `A picture could not be sent to the kernel (${problem.message}).`;
      if (mine === turn) stop(`${text} Run the cell of this widget again.`, true);
    }
  }

  // Jupyter's server holds an answer back until the browser has acknowledged the message before it. The browser
  // waits 40 ms with that, unless it has something to send: so it may send a tick. That halves the delay, or is
  // one message too many, when the machine is busy or the server was told not to wait (jupyter_lab_config.py).
  // So the first pictures go without, the next ones with ticks, and the quicker way stays. The first five warm up.
  function tick() {
    if (trial.length < 2 * TRIAL) return trial.length >= TRIAL;
    return median(trial.slice(TRIAL)) < 0.9 * median(trial.slice(5, TRIAL));
  }

  function receive(message) {
    if (message.kind === "stop") return stop();
    if (message.kind !== "answer" || message.number !== sent?.number) return;
    const now = performance.now();
    answers = answers.filter(answer => now - answer.now < WINDOW_MS);
    answers.push({ now, delay: now - sent.time });
    if (trial.length < 2 * TRIAL) trial.push(now - sent.time);
    sent = null;
    if (answers.length > 1) {
      const rate = 1000 * (answers.length - 1) / (now - answers[0].now);
      camera.numbers = { delay: median(answers.map(answer => answer.delay)), rate };
    }
    if (message.error) {
      failures += 1;
      const text = `Python could not look at the picture: ${message.error}`;
      if (failures >= MOST_FAILURES) {
        const off = `${failures} times in a row, so the camera was turned off`;
        return stop(`${text} (${off}). Fix it, then press Retry.`, true);
      }
      if (text !== camera.text) report("on", text, true);
    } else if (!message.dropped) {
      failures = 0;
      camera.faces = message.faces;
      if (camera.failed) report("on", "", false);
    }
    views.forEach(view => view.draw());
    send();
  }

  return { camera, views, start, stop, receive };
}

// ---------------------------------------------------------------- one display of it

function make(tag, className, parent, text = "") {
  const element = document.createElement(tag);
  element.className = className;
  element.textContent = text;
  parent?.append(element);
  return element;
}

function makeView(el, camera, start, stop) {
  const root = make("div", "webcam", el);
  const row = make("div", "webcam-row", root);
  const button = make("button", "webcam-button", row);
  const on = make("span", "webcam-on", row, "camera on");
  const numbers = make("span", "webcam-numbers", row);
  const text = make("p", "webcam-text", root);
  text.setAttribute("role", "status");
  const shown = make("div", "webcam-show", root);
  const picture = make("div", "webcam-picture", shown);
  const video = make("video", "", picture);
  video.muted = video.playsInline = video.autoplay = true;
  const canvas = make("canvas", "", picture);
  const emotions = make("div", "webcam-emotions", shown);
  button.addEventListener("click", () => camera.state === "off" ? start() : stop());

  function update() {
    button.textContent = camera.state !== "off" ? "Stop" : camera.failed ? "Retry" : "Start";
    on.hidden = shown.hidden = camera.state !== "on";
    text.textContent = camera.text;
    text.classList.toggle("webcam-error", camera.failed);
    if (video.srcObject !== camera.stream) video.srcObject = camera.stream;
    draw();
  }

  function draw() {
    const [width, height] = camera.size;
    picture.style.width = `${width}px`;
    if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
    const pen = canvas.getContext("2d");
    pen.clearRect(0, 0, width, height);
    for (const face of camera.faces) drawFace(pen, face, width);
    const area = face => face.box[2] * face.box[3];
    drawBars([...camera.faces].sort((a, b) => area(b) - area(a))[0]);
    const known = camera.state === "on" && camera.numbers;
    numbers.textContent = known ? `${known.rate.toFixed(0)} answers/s, delay ${known.delay.toFixed(0)} ms` : "";
  }

  // The picture is mirrored by CSS, the canvas over it is not: boxes change sides here, text stays readable.
  function drawFace(pen, face, width) {
    const [x, y, w, h] = face.box;
    const left = width - x - w;
    pen.strokeStyle = pen.fillStyle = "#ffc800";
    pen.lineWidth = 2;
    pen.strokeRect(left, y, w, h);
    if (!face.label) return;
    pen.font = "bold 16px sans-serif";
    const label = title(face);
    const over = y >= 22 ? y - 22 : y;
    pen.fillRect(left - 1, over, pen.measureText(label).width + 8, 22);
    pen.fillStyle = "#000";
    pen.fillText(label, left + 3, over + 16);
  }

  function drawBars(face) {
    const shares = Object.entries(face?.emotions ?? {});
    if (emotions.childElementCount !== shares.length + 1) {
      emotions.replaceChildren(make("p", "webcam-label"));
      for (const _ of shares) {
        const line = make("div", "webcam-emotion", emotions);
        make("span", "", line);
        make("div", "webcam-fill", make("div", "webcam-track", line));
        make("span", "", line);
      }
    }
    emotions.firstChild.textContent = !face ? "no face found" : face.label ? title(face) : "";
    shares.forEach(([name, share], i) => {
      const [first, track, last] = emotions.children[i + 1].children;
      first.textContent = name;
      track.firstChild.style.width = `${100 * share}%`;
      last.textContent = `${Math.round(100 * share)}%`;
    });
  }

  return { update, draw };
}

function title(face) {
  const share = face.emotions[face.label] ?? 0;
  return `${face.label}${share < UNCERTAIN ? "?" : ""} ${Math.round(100 * share)}%`;
}

// ---------------------------------------------------------------- what anywidget calls: once a widget, once a display

export default () => {
  let shared = null;
  return {
    initialize({ model }) {
      shared = makeCamera(model);
      model.on("msg:custom", shared.receive);
      if (model.get("state") !== "off") {           // left from a page that was closed with the camera on
        model.set({ state: "off", error: "" });
        model.save_changes();
      }
      return () => {
        model.off("msg:custom", shared.receive);
        shared.stop();
      };
    },
    render({ el }) {
      const { camera, views, start, stop } = shared;
      const view = makeView(el, camera, start, stop);
      views.add(view);
      view.update();
      return () => {
        views.delete(view);
        if (views.size === 0) stop();
      };
    },
  };
};
