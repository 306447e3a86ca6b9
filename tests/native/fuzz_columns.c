/* Random messages through columns.c, with a librdkafka of its own; `make test-native` runs it under the sanitizers and
 * valgrind. What comes out is compared with what went in; memory runs out now and then.
 *
 *     fuzz_columns ROUNDS SEED
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static unsigned long long state;
static unsigned below(unsigned limit) {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    return (unsigned)(state >> 33) % limit;
}

static int scarce;
static void *some_memory(void *old, size_t size) { return scarce && !below(8) ? NULL : realloc(old, size); }
#define realloc some_memory
#include "../../include/native/columns.c"
#undef realloc

enum { MOST = 64, NAMES = 5 };
static const char *names[NAMES] = {"schema", "label", "", "\xff\xfe", "a name that is longer than a word"};

typedef struct {
    int count;
    int name[4];
    uint8_t *content[4];
    size_t size[4];
} header_list;

static int alive, answer;
static uint8_t *bytes(size_t *size) {
    static const unsigned limits[] = {1, 2, 9, 800, 20000};
    if (!below(6)) return *size = below(9), NULL;
    *size = below(limits[below(5)]);
    uint8_t *made = malloc(*size + !*size);
    for (size_t i = 0; i < *size; i++) made[i] = (uint8_t)below(below(2) ? 2 : 256);
    return made;
}

static void destroy(message *m) {
    header_list *headers = m->opaque;
    for (int i = 0; i < headers->count; i++) free(headers->content[i]);
    free(headers), free(m->value), free(m->key), free(m);
    alive--;
}

static ssize_t consume(void *queue, int timeout_ms, message **messages, size_t most) {
    (void)queue, (void)timeout_ms;
    answer = below(10) ? (int)below((unsigned)most + 1) : -1;
    for (int i = 0; i < answer; i++, alive++) {
        message *m = messages[i] = calloc(1, sizeof *m);
        header_list *headers = m->opaque = calloc(1, sizeof *headers);
        m->err = below(10) ? 0 : (int)below(200) - 250;
        m->offset = i;
        m->value = bytes(&m->value_size);
        m->key = bytes(&m->key_size);
        headers->count = (int)below(5);
        for (int k = 0; k < headers->count; k++) {
            headers->name[k] = (int)below(NAMES);
            headers->content[k] = bytes(&headers->size[k]);
        }
    }
    return answer;
}

static int64_t get_timestamp(const message *m, int *type) { return *type = 1, m->offset + 1000; }
static int32_t get_leader_epoch(const message *m) { return (int32_t)m->offset % 7 - 1; }

static int get_headers(const message *m, void **headers) {
    *headers = m->opaque;
    return ((header_list *)m->opaque)->count ? 0 : -156;
}

static int get_header(const void *headers, size_t number, const char **name, const void **content, size_t *size) {
    const header_list *list = headers;
    if (number >= (size_t)list->count) return -156;
    *name = names[list->name[number]], *content = list->content[number], *size = list->size[number];
    return 0;
}

static uint32_t plain_crc(const uint8_t *p, size_t size) {
    uint32_t crc = ~0u;
    for (size_t i = 0; i < size; i++) {
        crc ^= p[i];
        for (int bit = 0; bit < 8; bit++) crc = crc & 1 ? 0xEDB88320u ^ crc >> 1 : crc >> 1;
    }
    return ~crc;
}

static const uint8_t *check_bytes(const uint8_t *found, int64_t size, const void *value, size_t value_size) {
    assert(size == (value ? (int64_t)value_size : -1));
    if (!value) return found;
    assert(!value_size || !memcmp(found, value, value_size));
    return found + value_size;
}

static void check_headers(const uint8_t *at, const uint8_t *end, const header_list *headers) {
    for (int k = 0; k < headers->count; k++) {
        const char *name = names[headers->name[k]];
        int64_t size;
        assert(!strcmp((const char *)at, name));
        at += strlen(name) + 1;
        memcpy(&size, at, sizeof size);
        at = check_bytes(at + sizeof size, size, headers->content[k], headers->size[k]);
    }
    assert(at == end);
}

static void nothing(message *m) { (void)m; }

static void round_of(reader *r) {
    int64_t sizes[3], most = (int64_t)below(2 * MOST) - 1;
    int64_t count = columns_take(r, NULL, 0, most, sizes);
    assert(count == answer);
    if (count < 0 || !below(5)) return; /* the next call frees them */
    message kept[MOST];
    for (int i = 0; i < count; i++) kept[i] = *r->messages[i];
    /* Arrays of exactly the sizes that were asked for, so that the sanitizer sees a byte too many. */
    size_t n = (size_t)count;
    columns to = {malloc(8 * n), malloc(8 * n), malloc(8 * n), malloc(8 * n), malloc(4 * n), malloc(4 * n), malloc(4 * n),
                  malloc(4 * n), malloc((size_t)sizes[1]), malloc((size_t)sizes[2])};
    /* The messages are kept beyond their end, to be compared with the columns. */
    message *pointers[MOST];
    memcpy(pointers, r->messages, n * sizeof *pointers);
    r->client.destroy = nothing;
    int32_t sets = columns_copy(r, &to);
    r->client.destroy = destroy;
    if (sets < 0) assert(scarce);
    else {
        const uint8_t *values = to.values, *keys = to.keys;
        int64_t header_bytes = 0;
        for (int i = 0; i < count; i++) {
            message *m = &kept[i];
            assert((i < sizes[0]) == !m->err && to.error[i] == m->err && to.offset[i] == m->offset);
            assert(to.timestamp[i] == m->offset + 1000 && to.leader_epoch[i] == m->offset % 7 - 1);
            assert(!i || !m->err != !kept[i - 1].err || m->offset > kept[i - 1].offset);
            values = check_bytes(values, to.value_size[i], m->value, m->value_size);
            keys = check_bytes(keys, to.key_size[i], m->key, m->key_size);
            assert(to.hash[i] == (m->key ? plain_crc(m->key, m->key_size) : 0));
            if (m->err) continue;
            assert(to.headers[i] >= 0 && to.headers[i] < sets);
            const int64_t *start = columns_set_starts(r) + to.headers[i];
            header_bytes += start[1] - start[0];
            check_headers(columns_sets(r) + start[0], columns_sets(r) + start[1], m->opaque);
        }
        assert(columns_header_bytes(r) == header_bytes);
        assert(values - to.values == sizes[1] && keys - to.keys == sizes[2]);
    }
    for (size_t i = 0; i < n; i++) destroy(pointers[i]);
    free(to.offset), free(to.timestamp), free(to.value_size), free(to.key_size), free(to.hash);
    free(to.leader_epoch), free(to.headers), free(to.error), free(to.values), free(to.keys);
}

int main(int count, char **arguments) {
    long rounds = count > 1 ? atol(arguments[1]) : 1000;
    state = count > 2 ? strtoull(arguments[2], NULL, 10) : 1;
    client functions = {consume, destroy, get_timestamp, get_leader_epoch, get_headers, get_header};
    assert(!columns_new(&functions, 0) && !columns_new(&functions, -1) && !columns_new(&functions, 1ll << 40));
    columns_free(NULL);
    for (long number = 0; number < rounds;) {
        reader *r = columns_new(&functions, MOST);
        for (int i = 0; i < 50 && number < rounds; i++, number++) {
            scarce = !below(4);
            round_of(r);
        }
        columns_free(r);
        assert(!alive);
    }
    printf("%ld batches are right.\n", rounds);
    return 0;
}
