// A table whose rows are sorted, filtered and chosen by the server. Its text is escaped by Vue.
export default {
  template: `
    <div class="data-table">
      <div v-if="searchable" class="table-tools">
        <label>Filter
          <input type="search" :value="filter" @input="$emit('filter', $event.target.value)">
        </label>
        <span role="status">{{ summary }}</span>
      </div>
      <div class="scroll" role="region" tabindex="0" :aria-label="caption">
        <table>
          <caption class="hidden">{{ caption }}</caption>
          <thead>
            <tr>
              <td v-if="selectable"></td>
              <th v-for="column in columns" :key="column.key" scope="col" :class="{ number: column.numeric }"
                  :aria-sort="column.key !== sorted ? null : descending ? 'descending' : 'ascending'">
                <button type="button" @click="$emit('sort', column.key)">{{ column.label }}</button>
              </th>
            </tr>
          </thead>
          <tbody>
            <tr v-for="row in rows" :key="row.id">
              <td v-if="selectable">
                <input v-if="row.can_be_selected" type="checkbox" :checked="selected.includes(row.id)"
                       :aria-label="'Select ' + row.id"
                       @change="$emit('select', { id: row.id, on: $event.target.checked })">
              </td>
              <component v-for="(column, place) in columns" :key="column.key" :is="place ? 'td' : 'th'"
                         :scope="place ? null : 'row'" :class="{ number: column.numeric, long: row.cells[place].length > 40 }">
                <a v-if="!place && row.href" :href="row.href">{{ row.cells[place] }}</a>
                <span v-else-if="column.badge && row.cells[place]" :class="['badge', row.cells[place]]">{{ row.cells[place] }}</span>
                <template v-else>{{ row.cells[place] }}</template>
              </component>
            </tr>
          </tbody>
        </table>
      </div>
      <p v-if="pages > 1" class="pager">
        <button type="button" :disabled="page === 0" @click="$emit('page', page - 1)">Previous</button>
        <span>page {{ page + 1 }} of {{ pages }}</span>
        <button type="button" :disabled="page + 1 >= pages" @click="$emit('page', page + 1)">Next</button>
      </p>
    </div>
  `,
  emits: ["filter", "page", "select", "sort"],  // otherwise events of inputs with the same name would arrive too
  props: {
    caption: String,
    columns: Array,
    rows: Array,
    sorted: String,
    descending: Boolean,
    filter: String,
    summary: String,
    page: Number,
    pages: Number,
    searchable: Boolean,
    selectable: Boolean,
    selected: Array,
  },
};
