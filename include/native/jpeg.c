/* Which JPEG files need no closer look: a check of the structure of ITU-T T.81, Annex B, that only says yes where
 * `JpegCodec.parse` in include/codecs/jpeg.py would find a picture of this size, upright and in one pass. Where it says no,
 * that code decides.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { END = 0xD9, SCAN = 0xDA, EXIF = 0xE1 };

/* Tables, comments, and what programs add, but for EXIF, which may turn the picture. */
static int is_passed_over(int name) {
    return name == 0xC4 || name == 0xDB || name == 0xDD || name == 0xFE || (name >= 0xE0 && name <= 0xEF && name != EXIF);
}

static unsigned number(const uint8_t *at) { return (unsigned)at[0] << 8 | at[1]; }

/* The marker behind a scan's pixels, in which a zero follows each 0xff and restart markers may be; NULL where there is none. */
static const uint8_t *end_of_scan(const uint8_t *at, const uint8_t *end) {
    while ((at = memchr(at, 0xFF, (size_t)(end - at))) && end - at > 1) {
        if (at[1] && at[1] != 0xFF && (at[1] < 0xD0 || at[1] > 0xD7)) return at;
        at++;
    }
    return NULL;
}

/* 1 for a complete file with one baseline scan of `width` x `height` pixels in `channels` channels, else 0. */
int jpeg_is_plain(const uint8_t *value, size_t size, unsigned width, unsigned height, unsigned channels) {
    const uint8_t *at = value, *end = value + size;
    int frames = 0, scans = 0;
    if (size < 2 || at[0] != 0xFF || at[1] != 0xD8) return 0;
    at += 2;
    for (;;) {
        if (at == end || *at != 0xFF) return 0;
        while (at < end && *at == 0xFF) at++;
        if (at == end) return 0;
        int name = *at++;
        if (name == END) return at == end && frames && scans;
        if (end - at < 2) return 0;
        size_t length = number(at);
        if (length < 2 || length > (size_t)(end - at)) return 0;
        if (name == 0xC0 || name == 0xC1) {
            if (frames++ || length < 8) return 0;
            if (number(at + 3) != height || number(at + 5) != width || at[7] != channels) return 0;
        } else if (name == SCAN) {
            /* Some cameras write other frequencies than all 64, which decoders warn of. */
            if (scans++ || !frames || length < 6 || at[length - 3] || at[length - 2] != 63 || at[length - 1]) return 0;
        } else if (!is_passed_over(name)) {
            return 0;
        }
        at += length;
        if (name == SCAN && !(at = end_of_scan(at, end))) return 0;
    }
}
