// Images whose label may be wrong. The server has the table; each decision is sent to it at once.
export default {
  template: `
    <div class="label-review">
      <div class="choices">
        <label class="choice"><span>Show</span>
          <select :value="filter" @change="$emit('filter', $event.target.value)">
            <option v-for="name in filters" :key="name" :value="name">{{ name }}</option>
          </select>
        </label>
      </div>
      <p v-if="!items.length" class="soft">No image is left here.</p>
      <div ref="list" class="label-cards">
        <div v-for="item in items" :key="item.image" :class="['label-card', item.action]" tabindex="-1"
             role="group" :aria-label="item.place + '. ' + item.image" @keydown="press($event, item)">
          <a class="photo" :href="item.large" target="_blank" :aria-label="'Open ' + item.image + ' larger'">
            <img v-if="!broken[item.image]" :src="item.photo" alt="" loading="lazy" @error="broken[item.image] = true">
            <span v-else class="soft">The photo cannot be shown.</span>
          </a>
          <div>
            <p>Label: <strong>{{ item.label }}</strong><template v-if="item.labelShare">, probability {{ item.labelShare }}</template></p>
            <p>Models say: <strong class="seen">{{ item.seen }}</strong><template v-if="item.sure">, {{ item.sure }}</template></p>
            <p class="soft name">{{ item.place }}. {{ item.image }}</p>
          </div>
          <div class="decisions">
            <button type="button" class="button" :aria-pressed="item.action === 'keep'" @click="choose(item, 'keep')">
              Keep {{ item.label }}
            </button>
            <span class="relabel">
              <button type="button" class="button" :aria-pressed="item.action === 'relabel'"
                      @click="choose(item, 'relabel')">Relabel as</button>
              <select :value="getTarget(item)" :aria-label="'New class of ' + item.image"
                      @change="choose(item, 'relabel', $event.target.value)">
                <option v-for="name in classes.filter((name) => name !== item.label)" :key="name" :value="name">
                  {{ name }}
                </option>
              </select>
            </span>
            <button type="button" class="button" :aria-pressed="item.action === 'exclude'"
                    @click="choose(item, 'exclude')">Leave out</button>
            <button v-if="item.action" type="button" class="button undo" @click="choose(item, '')">Undo</button>
          </div>
        </div>
      </div>
      <p v-if="pages > 1" class="pager">
        <button type="button" :disabled="page === 0" @click="turn(page - 1)">Previous</button>
        <span>page {{ page + 1 }} of {{ pages }}</span>
        <button type="button" :disabled="page + 1 >= pages" @click="turn(page + 1)">Next</button>
      </p>
    </div>
  `,
  emits: ["choose", "filter", "page"],  // otherwise events of inputs with the same name would arrive too
  props: { items: Array, classes: Array, filters: Array, filter: String, page: Number, pages: Number },
  data() {
    return { broken: {} };
  },
  methods: {
    // The class that "Relabel as" gives: the one in the table, which the models see or a person has chosen.
    getTarget(item) {
      return item.suggested !== item.label ? item.suggested : this.classes.find((name) => name !== item.label);
    },
    choose(item, action, className) {
      const chosen = action === "relabel" ? className ?? this.getTarget(item) : "";
      this.$emit("choose", { image: item.image, action, className: chosen });
    },
    turn(page) {
      this.$emit("page", page);
      this.$el.scrollIntoView({ block: "start" });
    },
    press(event, item) {
      if (event.ctrlKey || event.metaKey || event.altKey || event.target.tagName === "SELECT") return;
      const action = { k: "keep", r: "relabel", x: "exclude", u: "" }[event.key.toLowerCase()];
      const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (action === undefined && step === undefined) return;
      event.preventDefault();
      if (action !== undefined) this.choose(item, action);
      if (action !== "") this.focusCard(this.items.indexOf(item) + (step ?? 1));
    },
    focusCard(place) {
      const button = this.$refs.list.children[place]?.querySelector("button");
      if (button) button.focus();
    },
  },
};
