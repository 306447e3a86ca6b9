/* Records as columns: what librdkafka consumes, copied into arrays, with no Python object for a record.
 *
 * include/kafka/columns.py calls this by ctypes, which releases Python's lock.
 * librdkafka's functions come as pointers, so nothing is linked: they are those of the library that confluent_kafka uses.
 *
 * A batch is taken in two steps, because only Python can allocate the arrays: `columns_take` consumes and says how large
 * they must be, `columns_copy` fills them and frees the messages.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

/* rd_kafka_message_t, which is part of librdkafka's public ABI. */
typedef struct {
    int err;
    void *topic;
    int32_t partition;
    void *value;
    size_t value_size;
    void *key;
    size_t key_size;
    int64_t offset;
    void *opaque;
} message;

/* rd_kafka_consume_batch_queue, rd_kafka_message_destroy, rd_kafka_message_timestamp, rd_kafka_message_leader_epoch,
 * rd_kafka_message_headers and rd_kafka_header_get_all. */
typedef struct {
    ssize_t (*consume)(void *queue, int timeout_ms, message **messages, size_t most);
    void (*destroy)(message *);
    int64_t (*timestamp)(const message *, int *type);
    int32_t (*leader_epoch)(const message *);
    int (*headers)(const message *, void **headers);
    int (*header)(const void *headers, size_t number, const char **name, const void **content, size_t *size);
} client;

/* Outputs of `columns_copy`, each with a place for every message: first the records, then the events. A length is -1 where
 * there is no value or key. `headers` numbers the distinct sets of headers of this batch; `hash` is the key's CRC-32; a leader
 * epoch that is not known is -1. An event's error is not 0, and its value is the error's text. */
typedef struct {
    int64_t *offset, *timestamp, *value_size, *key_size;
    uint32_t *hash;
    int32_t *leader_epoch, *headers, *error;
    uint8_t *values, *keys;
} columns;

typedef struct {
    client client;
    size_t most;
    message **messages;
    /* Of the messages that are held; of the headers, of those of the last batch. */
    int64_t count, records, value_bytes, key_bytes, header_bytes;
    /* The distinct sets of headers, one after the other, and where each begins; one more for the end. */
    uint8_t *sets;
    size_t sets_room;
    int64_t *set_start;
    uint64_t *set_hash;
    int32_t set_count;
    /* Set numbers by hash, -1 where free: at least twice as many places as there can be sets. */
    int32_t *places;
    size_t mask;
    uint32_t crc[256];
} reader;

void columns_drop(reader *r) {
    for (int64_t i = 0; i < r->count; i++) r->client.destroy(r->messages[i]);
    r->count = 0;
}

void columns_free(reader *r) {
    if (!r) return;
    if (r->messages) columns_drop(r);
    free(r->messages);
    free(r->sets);
    free(r->set_start);
    free(r->set_hash);
    free(r->places);
    free(r);
}

/* A reader of at most `most` messages at a time; NULL where there is no memory. */
reader *columns_new(const client *c, int64_t most) {
    if (most < 1 || most > 1 << 20) return NULL;
    reader *r = calloc(1, sizeof *r);
    if (!r) return NULL;
    r->client = *c;
    r->most = (size_t)most;
    r->mask = 1;
    while (r->mask < 2 * r->most) r->mask *= 2;
    r->messages = malloc(r->most * sizeof *r->messages);
    r->set_start = malloc((r->most + 1) * sizeof *r->set_start);
    r->set_hash = malloc(r->most * sizeof *r->set_hash);
    r->places = malloc(r->mask * sizeof *r->places);
    r->mask -= 1;
    if (!r->messages || !r->set_start || !r->set_hash || !r->places) {
        columns_free(r);
        return NULL;
    }
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; bit++) crc = crc & 1 ? 0xEDB88320u ^ crc >> 1 : crc >> 1;
        r->crc[byte] = crc;
    }
    return r;
}

/* Consume up to `most` messages, of which `columns_copy` is to follow; returns how many. The counts in `sizes` are: records,
 * bytes of values (and of the events' texts), bytes of keys. */
int64_t columns_take(reader *r, void *queue, int timeout_ms, int64_t most, int64_t sizes[3]) {
    columns_drop(r);
    if (most < 1 || (size_t)most > r->most) most = (int64_t)r->most;
    int64_t got = r->client.consume(queue, timeout_ms, r->messages, (size_t)most);
    if (got < 0) return got;
    r->count = got;
    r->records = r->value_bytes = r->key_bytes = 0;
    for (int64_t i = 0; i < got; i++) {
        message *m = r->messages[i];
        if (m->value) r->value_bytes += (int64_t)m->value_size;
        if (m->key) r->key_bytes += (int64_t)m->key_size;
        if (!m->err) {
            /* Events are few, so this hardly moves anything. */
            for (int64_t to = i; to > r->records; to--) r->messages[to] = r->messages[to - 1];
            r->messages[r->records++] = m;
        }
    }
    sizes[0] = r->records;
    sizes[1] = r->value_bytes;
    sizes[2] = r->key_bytes;
    return got;
}

static int grow(reader *r, size_t size) {
    if (size <= r->sets_room) return 1;
    size_t room = r->sets_room ? r->sets_room : 4096;
    while (room < size) room *= 2;
    uint8_t *sets = realloc(r->sets, room);
    if (!sets) return 0;
    r->sets = sets;
    r->sets_room = room;
    return 1;
}

/* Write a record's headers at `*end`, behind the known sets, and move it: of each the name with its zero byte, its content's
 * size in 8 bytes (-1: none) and the content. 0 where there is no memory. */
static int write_headers(reader *r, const message *m, size_t *end) {
    void *headers = NULL;
    if (!grow(r, *end + 1)) return 0;
    if (r->client.headers(m, &headers)) return 1;
    const char *name;
    const void *content;
    size_t size;
    for (size_t number = 0; !r->client.header(headers, number, &name, &content, &size); number++) {
        size_t name_size = strlen(name) + 1;
        int64_t stored = content ? (int64_t)size : -1;
        if (!content) size = 0;
        if (!grow(r, *end + name_size + sizeof stored + size)) return 0;
        memcpy(r->sets + *end, name, name_size);
        *end += name_size;
        memcpy(r->sets + *end, &stored, sizeof stored);
        *end += sizeof stored;
        if (size) memcpy(r->sets + *end, content, size);
        *end += size;
    }
    return 1;
}

static uint64_t hash_of(const uint8_t *bytes, size_t size) {
    uint64_t hash = size * 0x9E3779B97F4A7C15ull, word;
    for (; size >= 8; size -= 8, bytes += 8) {
        memcpy(&word, bytes, 8);
        hash = (hash ^ word) * 0xBF58476D1CE4E5B9ull;
        hash ^= hash >> 29;
    }
    for (word = 0; size; size--) word = word << 8 | *bytes++;
    hash = (hash ^ word) * 0x94D049BB133111EBull;
    return hash ^ hash >> 32;
}

/* The number of a record's set of headers, -1 where there is no memory. */
static int32_t set_of(reader *r, const message *m) {
    size_t start = (size_t)r->set_start[r->set_count], end = start;
    if (!write_headers(r, m, &end)) return -1;
    r->header_bytes += (int64_t)(end - start);
    uint64_t hash = hash_of(r->sets + start, end - start);
    for (size_t place = hash & r->mask;; place = (place + 1) & r->mask) {
        int32_t known = r->places[place];
        if (known < 0) {
            r->places[place] = r->set_count;
            r->set_hash[r->set_count] = hash;
            r->set_start[++r->set_count] = (int64_t)end;
            return r->set_count - 1;
        }
        size_t begin = (size_t)r->set_start[known], size = (size_t)r->set_start[known + 1] - begin;
        if (r->set_hash[known] == hash && size == end - start && !memcmp(r->sets + begin, r->sets + start, size)) return known;
    }
}

static uint32_t crc_of(const reader *r, const uint8_t *bytes, size_t size) {
    uint32_t crc = 0xFFFFFFFFu;
    while (size--) crc = r->crc[(crc ^ *bytes++) & 255] ^ crc >> 8;
    return ~crc;
}

static int64_t copied(uint8_t **to, const void *from, size_t size) {
    if (!from) return -1;
    if (size) memcpy(*to, from, size);
    *to += size;
    return (int64_t)size;
}

/* Fill the columns from the messages that `columns_take` has consumed, and free these. Returns the number of distinct sets
 * of headers, -1 where there is no memory. */
int32_t columns_copy(reader *r, columns *to) {
    uint8_t *values = to->values, *keys = to->keys;
    int type;
    r->header_bytes = r->set_count = 0;
    r->set_start[0] = 0;
    memset(r->places, 0xFF, (r->mask + 1) * sizeof *r->places);
    for (int64_t i = 0; i < r->count; i++) {
        const message *m = r->messages[i];
        to->offset[i] = m->offset;
        to->error[i] = m->err;
        to->timestamp[i] = r->client.timestamp(m, &type);
        to->leader_epoch[i] = r->client.leader_epoch(m);
        to->value_size[i] = copied(&values, m->value, m->value_size);
        to->key_size[i] = copied(&keys, m->key, m->key_size);
        to->hash[i] = m->key ? crc_of(r, m->key, m->key_size) : 0;
        to->headers[i] = i < r->records ? set_of(r, m) : 0;
        if (to->headers[i] < 0) {
            columns_drop(r);
            return -1;
        }
    }
    columns_drop(r);
    return r->set_count;
}

/* The sets of headers of the last batch, see `write_headers`, and where they begin. */
const uint8_t *columns_sets(const reader *r) { return r->sets; }
const int64_t *columns_set_starts(const reader *r) { return r->set_start; }

/* The bytes of all headers of the last batch, those of equal sets, too. */
int64_t columns_header_bytes(const reader *r) { return r->header_bytes; }
