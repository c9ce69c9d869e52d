// Where photos come in: dropped, pasted, chosen as files, or taken with the camera. Each is sent to /upload.
export default {
  template: `
    <div :class="['photo-input', { over: isOver }]" role="group" aria-label="Photos to try"
         @dragover.prevent="isOver = true" @dragleave="isOver = false" @drop.prevent="drop">
      <p>Drop photos here, paste one with Ctrl-V, or</p>
      <div class="actions">
        <label class="button primary">Choose photos
          <input ref="files" class="hidden" type="file" accept="image/*" multiple @change="choose">
        </label>
        <button v-if="!stream" type="button" class="button" @click="openCamera">Use the camera</button>
        <template v-else>
          <button type="button" class="button primary" @click="takePhoto">Take the photo</button>
          <button type="button" class="button" @click="closeCamera">Close the camera</button>
        </template>
      </div>
      <video v-show="stream" ref="video" autoplay playsinline muted aria-label="Picture of the camera"></video>
      <p role="status">{{ message }}</p>
    </div>
  `,
  props: { limit: Number },
  data() {
    return { isOver: false, stream: null, message: "" };
  },
  mounted() {
    document.addEventListener("paste", this.paste);
  },
  unmounted() {
    document.removeEventListener("paste", this.paste);
    this.closeCamera();
  },
  methods: {
    drop(event) {
      this.isOver = false;
      this.send([...event.dataTransfer.files]);
    },
    paste(event) {
      const files = [...event.clipboardData.files];
      if (files.length) this.send(files);
    },
    choose() {
      this.send([...this.$refs.files.files]);
      this.$refs.files.value = "";
    },
    async send(files) {
      const photos = [], problems = [];
      if (files.length > this.limit) problems.push(`Only the first ${this.limit} of ${files.length} photos are sent`);
      for (const file of files.slice(0, this.limit)) {
        this.message = [...problems, `Sending ${file.name || "the photo"} ...`].join("; ");
        const { key, error } = await this.upload(file);
        if (key) photos.push({ key, name: file.name || "photo" });
        else problems.push(`${file.name || "the photo"}: ${error || "cannot be sent; try again"}`);
      }
      this.message = problems.join("; ");
      if (photos.length) this.$emit("photos", photos);
    },
    async upload(file) {
      try {
        const answer = await fetch("/upload", { method: "POST", body: file });
        return await answer.json();
      } catch { // a folder, no connection, or an answer that is not from the server of these pages
        return { error: "cannot be sent; choose a photo, not a folder, or load this page again" };
      }
    },
    async openCamera() {
      try {
        this.stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
        this.$refs.video.srcObject = this.stream;
        this.message = "";
      } catch (error) {
        this.message = window.isSecureContext
          ? "The camera cannot be used: the browser has none, or did not allow it."
          : "Browsers allow the camera only at localhost and with https; drop, paste or choose a photo.";
      }
    },
    closeCamera() {
      if (this.stream) this.stream.getTracks().forEach((track) => track.stop());
      this.stream = null;
    },
    takePhoto() {
      const video = this.$refs.video;
      const canvas = document.createElement("canvas");
      canvas.width = video.videoWidth;
      canvas.height = video.videoHeight;
      canvas.getContext("2d").drawImage(video, 0, 0);
      canvas.toBlob((blob) => this.send([new File([blob], "camera.jpg", { type: "image/jpeg" })]), "image/jpeg", 0.92);
    },
  },
};
