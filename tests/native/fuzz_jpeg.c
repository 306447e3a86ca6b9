/* Random files through jpeg.c; `make test-native` runs it under the sanitizers and valgrind, which notice a byte that is read
 * beyond a file's end. Files are made of valid segments, and most are then damaged: cut short, or with some bytes changed.
 *
 *     fuzz_jpeg ROUNDS SEED
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "../../include/native/jpeg.c"

static unsigned long long state;
static unsigned below(unsigned limit) {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    return (unsigned)(state >> 33) % limit;
}

enum { ROOM = 4096, WIDTH = 24, HEIGHT = 16, CHANNELS = 3 };
static uint8_t file[ROOM];
static size_t size;

static void put(unsigned byte) { file[size++] = (uint8_t)byte; }

static void segment(unsigned name, unsigned content) {
    for (put(0xFF); !below(8);) put(0xFF);
    put(name), put(0), put(content + 2);
    for (unsigned i = 0; i < content; i++) put(below(4) ? below(256) : 0xFF);
}

/* Whether the file as it is made is plain. */
static int make(void) {
    static const unsigned added[] = {0xC4, 0xDB, 0xDD, 0xFE, 0xE0, 0xE2, 0xEE, 0xEF, 0xE1, 0xC8, 0x01};
    int plain = 1, scans = below(8) ? 1 : (int)below(3);
    size = 0;
    put(0xFF), put(0xD8);
    for (unsigned i = below(6); i; i--) {
        unsigned which = below(below(4) ? 8 : 11);
        plain &= which < 8;
        segment(added[which], below(60));
    }
    unsigned frame = below(8) ? 0xC0 + below(2) : 0xC2;
    plain &= frame != 0xC2;
    segment(frame, 15);
    file[size - 15 + 1] = 0, file[size - 15 + 2] = HEIGHT, file[size - 15 + 3] = 0, file[size - 15 + 4] = WIDTH;
    file[size - 15 + 5] = CHANNELS;
    plain &= scans == 1;
    for (; scans; scans--) {
        segment(0xDA, 10);
        file[size - 3] = 0, file[size - 2] = 63, file[size - 1] = 0;
        for (unsigned i = below(200); i; i--) {
            put(below(256));
            if (file[size - 1] == 0xFF) put(below(4) ? 0 : 0xD0 + below(8));
        }
    }
    put(0xFF), put(0xD9);
    return plain;
}

int main(int count, char **arguments) {
    unsigned rounds = count > 1 ? (unsigned)atoi(arguments[1]) : 1000;
    state = count > 2 ? (unsigned long long)atoll(arguments[2]) : 1;
    unsigned plain_files = 0;
    for (unsigned round = 0; round < rounds * 100; round++) {
        int plain = make(), damaged = below(4) != 0;
        if (damaged && below(2)) size = below((unsigned)size + 1);
        else if (damaged)
            for (unsigned changes = below(4); changes; changes--) file[below((unsigned)size)] = (uint8_t)below(256);
        /* A block of exactly its size. */
        uint8_t *copy = malloc(size + !size);
        memcpy(copy, file, size);
        int found = jpeg_is_plain(copy, size, WIDTH, HEIGHT, CHANNELS);
        if (!damaged) assert(found == plain);
        if (found) {
            assert(!jpeg_is_plain(copy, size - 1, WIDTH, HEIGHT, CHANNELS));
            assert(!jpeg_is_plain(copy, size, WIDTH + 1, HEIGHT, CHANNELS));
            assert(!jpeg_is_plain(copy, size, WIDTH, HEIGHT + 1, CHANNELS));
            assert(!jpeg_is_plain(copy, size, WIDTH, HEIGHT, 1));
        }
        plain_files += (unsigned)found;
        free(copy);
    }
    assert(plain_files > rounds);
    printf("%u files, %u of them plain: right.\n", rounds * 100, plain_files);
    return 0;
}
