/* Zipkin's JSON v2 list of spans to numbers and blocks of text, in one pass over the bytes: what
 * zipkin_json.py and spans/packed.py make by way of Python objects, in a fifth of the time.
 *
 * It takes what clients send every day and declines all else, which those modules then read: it
 * decides nothing they might decide otherwise. Texts that come again and again (names, endpoints,
 * tag keys) are not even read a second time: their bytes, as they stand in the body, are looked up,
 * and bytes not seen before are asked about in Python.
 *
 * The body is bytes of Python, which end with a NUL that is not counted: no token begins with one,
 * so one byte may be looked at without asking whether any is left.
 *
 * One file of more than 600 lines, since its functions inline each other: they are called a hundred
 * times a span. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* What is looked up; the same in zipkin_scan.py. */
enum { NAME, LOCAL, REMOTE, KIND, KEY, SHAPE };

/* Columns of words, in the order of packed.py, and two that are no words. */
enum { NAME_CODE, SERVICE, ADDRESS, REMOTE_SERVICE, REMOTE_WHOLE, SHAPE_CODE, TAGS, NOTES, CODES };

/* Bits of flags, and the kind that shares no span: as in columns.py and model.py. */
enum { SHARED = 8, DEBUG = 32, CLIENT = 1 };

/* -- what was looked up before ------------------------------------------------------------------ */

enum { PLACES = 16384, NEIGHBOURS = 4, LONGEST = 512 };

typedef struct {
    uint64_t hash;
    unsigned char *raw; /* NULL: nothing is kept here */
    uint32_t size;
    int32_t what;
    int32_t codes[2];
} Place;

typedef struct {
    PyObject_HEAD
    Place *places; /* each text is at one of NEIGHBOURS places that its hash tells */
    int32_t nothing; /* the code of no text */
    unsigned turn;
} Scanner;

static uint64_t word_at(const unsigned char *at) {
    uint64_t word;
    memcpy(&word, at, sizeof word);
    return word;
}

static uint64_t mixed(uint64_t hash, uint64_t word) {
    hash = (hash ^ word) * UINT64_C(0x9E3779B97F4A7C15);
    return hash ^ hash >> 29;
}

/* Texts with the same hash, chance or not, cost time and nothing else: there are few neighbours. */
static uint64_t hashed(const unsigned char *raw, size_t size, int what) {
    uint64_t hash = mixed(size, (uint64_t)what), last = 0;
    if (size >= 8) {
        for (size_t at = 0; at < size - 8; at += 8)
            hash = mixed(hash, word_at(raw + at));
        return mixed(hash, word_at(raw + size - 8)); /* some of it for the second time */
    }
    for (size_t at = 0; at < size; at++)
        last = last << 8 | raw[at];
    return mixed(hash, last);
}

static Place *neighbourhood(Scanner *scanner, uint64_t hash) {
    return scanner->places + (hash >> 32) % (PLACES / NEIGHBOURS) * NEIGHBOURS;
}

static int is_at(const Place *place, uint64_t hash, int what, const unsigned char *raw,
                 size_t size) {
    return place->hash == hash && place->raw != NULL && place->size == size &&
           place->what == what && memcmp(place->raw, raw, size) == 0;
}

/* Without room for it nothing is kept, which is no failure. */
static void keep(Scanner *scanner, uint64_t hash, int what, const unsigned char *raw, size_t size,
                 const int32_t codes[2]) {
    Place *places = neighbourhood(scanner, hash), *place = NULL;
    unsigned char *copy = size > LONGEST ? NULL : PyMem_Malloc(size);
    if (copy == NULL)
        return;
    for (int i = 0; i < NEIGHBOURS && place == NULL; i++)
        if (places[i].raw == NULL)
            place = &places[i];
    if (place == NULL)
        place = &places[scanner->turn++ % NEIGHBOURS];
    PyMem_Free(place->raw);
    memcpy(copy, raw, size);
    *place = (Place){hash, copy, (uint32_t)size, what, {codes[0], codes[1]}};
}

/* -- one body ----------------------------------------------------------------------------------- */

typedef struct {
    uint64_t high, low, parent, id;
    int64_t timestamp, duration;
    int32_t codes[CODES];
    uint8_t flags;
} Row;

typedef struct {
    char *start;
    size_t size, room; /* bytes */
} Column;

typedef struct {
    Scanner *scanner;
    PyObject *codes_of; /* called for texts that were not looked up before */
    const unsigned char *at, *end;
    Column rows, keys, values, note_times, notes;
    int field; /* the one that came last */
} Scan;

/* All that reads gives 1, and 0 where the body is declined, or with an exception set. */

static int room_for(Column *column, size_t size) {
    if (size <= column->room - column->size)
        return 1;
    if (size > PY_SSIZE_T_MAX / 4 - column->room)
        return PyErr_NoMemory() != NULL;
    size_t room = column->room * 2 + size + 1024;
    char *start = PyMem_Realloc(column->start, room);
    if (start == NULL)
        return PyErr_NoMemory() != NULL;
    column->start = start;
    column->room = room;
    return 1;
}

static int append(Column *column, const void *item, size_t size) {
    if (!room_for(column, size))
        return 0;
    memcpy(column->start + column->size, item, size);
    column->size += size;
    return 1;
}

static int ask(Scan *scan, int what, const unsigned char *raw, size_t size, int32_t codes[2]) {
    PyObject *made = PyObject_CallFunction(scan->codes_of, "iy#", what, raw, (Py_ssize_t)size);
    if (made == NULL)
        return 0;
    int good = made != Py_None && PyArg_ParseTuple(made, "ii", &codes[0], &codes[1]);
    Py_DECREF(made);
    return good;
}

static int look_up(Scan *scan, int what, const unsigned char *raw, size_t size, int32_t codes[2]) {
    uint64_t hash = hashed(raw, size, what);
    Place *places = neighbourhood(scan->scanner, hash);
    for (int i = 0; i < NEIGHBOURS; i++)
        if (is_at(&places[i], hash, what, raw, size)) {
            memcpy(codes, places[i].codes, sizeof places[i].codes);
            return 1;
        }
    if (!ask(scan, what, raw, size, codes))
        return 0;
    keep(scan->scanner, hash, what, raw, size, codes);
    return 1;
}

/* -- tokens ------------------------------------------------------------------------------------- */

static void skip(Scan *scan) {
    while (*scan->at == ' ' || *scan->at == '\n' || *scan->at == '\r' || *scan->at == '\t')
        scan->at++;
}

static int pass(Scan *scan, unsigned char character) {
    if (*scan->at != character)
        return 0;
    scan->at++;
    return 1;
}

static int pass_word(Scan *scan, const char *word) {
    size_t size = strlen(word);
    if ((size_t)(scan->end - scan->at) < size || memcmp(scan->at, word, size) != 0)
        return 0;
    scan->at += size;
    return 1;
}

/* After an element: 1 where another one follows, 0 where the list or object ends, -1 for neither. */
static int another(Scan *scan, unsigned char closing) {
    skip(scan);
    if (pass(scan, ',')) {
        skip(scan);
        return 1;
    }
    return pass(scan, closing) ? 0 : -1;
}

#define EACH(byte) (UINT64_C(0x0101010101010101) * (byte))

/* Whether one of eight bytes is a zero. */
static uint64_t zero_in(uint64_t word) { return (word - EACH(1)) & ~word & EACH(0x80); }

/* Whether one of eight bytes ends a run in a string: a quote, a backslash, a control character. */
static uint64_t stop_in(uint64_t word) {
    return zero_in(word ^ EACH('"')) | zero_in(word ^ EACH('\\')) |
           ((word - EACH(0x20)) & ~word & EACH(0x80));
}

/* The byte that ends the run: at the latest the NUL behind the body. */
static const unsigned char *stop(const unsigned char *at, const unsigned char *end) {
    for (; end - at >= 8; at += 8) {
        uint64_t found = stop_in(word_at(at));
        if (found == 0)
            continue;
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
        return at + (__builtin_ctzll(found) >> 3); /* the first that is found is one */
#else
        break;
#endif
    }
    while (*at >= 0x20 && *at != '"' && *at != '\\')
        at++;
    return at;
}

/* Past a string with its quotes; whether there are escapes in it. */
static int pass_string(Scan *scan, int *escaped) {
    const unsigned char *at = scan->at;
    *escaped = 0;
    if (*at++ != '"')
        return 0;
    for (;;) {
        at = stop(at, scan->end);
        if (*at == '"') {
            scan->at = at + 1;
            return 1;
        }
        if (*at++ != '\\' || *at < 0x20)
            return 0;
        *escaped = 1;
        at++;
    }
}

/* Past an object without another one in it. What is in it is not looked at. */
static int pass_object(Scan *scan) {
    int escaped;
    if (!pass(scan, '{'))
        return 0;
    while (*scan->at != '}') {
        if (*scan->at == '"') {
            if (!pass_string(scan, &escaped))
                return 0;
        } else if (*scan->at == '{' || *scan->at == '[' || scan->at++ == scan->end) {
            return 0;
        }
    }
    scan->at++;
    return 1;
}

/* Bytes of the character that four hex digits tell, put there; 0 for a NUL, which ends texts, and
 * for half of a pair. */
static int of_digits(const unsigned char *digits, char *to) {
    unsigned code = 0;
    for (int i = 0; i < 4; i++) {
        unsigned digit = digits[i], letter = (digit | 0x20) - 'a';
        if (digit - '0' > 9 && letter > 5)
            return 0;
        code = code << 4 | (digit - '0' <= 9 ? digit - '0' : letter + 10);
    }
    if (code == 0 || (code >= 0xD800 && code <= 0xDFFF))
        return 0;
    if (code < 0x80) {
        to[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        to[0] = (char)(0xC0 | code >> 6);
        to[1] = (char)(0x80 | (code & 0x3F));
        return 2;
    }
    to[0] = (char)(0xE0 | code >> 12);
    to[1] = (char)(0x80 | (code >> 6 & 0x3F));
    to[2] = (char)(0x80 | (code & 0x3F));
    return 3;
}

/* What is between the quotes, without its escapes: never longer, in UTF-8, than with them. */
static int unescape(const unsigned char *at, const unsigned char *end, Column *texts) {
    static const char escapes[] = "\"\"\\\\//b\bf\fn\nr\rt\t";
    char *to = texts->start + texts->size;
    while (at < end) {
        if (*at != '\\') {
            *to++ = (char)*at++;
            continue;
        }
        unsigned char kind = at[1]; /* a backslash is not the last before the quote */
        at += 2;
        if (kind == 'u') {
            int size = end - at < 4 ? 0 : of_digits(at, to);
            if (size == 0)
                return 0;
            to += size;
            at += 4;
            continue;
        }
        const char *found = escapes;
        while (*found != '\0' && *found != (char)kind)
            found += 2;
        if (*found == '\0')
            return 0;
        *to++ = found[1];
    }
    texts->size = (size_t)(to - texts->start);
    return 1;
}

/* A string as the next of the texts, which each end with a NUL. */
static int take_text(Scan *scan, Column *texts) {
    const unsigned char *start = scan->at + 1;
    int escaped;
    if (!pass_string(scan, &escaped))
        return 0;
    const unsigned char *end = scan->at - 1;
    if (!room_for(texts, (size_t)(end - start) + 1))
        return 0;
    if (escaped) {
        if (!unescape(start, end, texts))
            return 0;
    } else {
        memcpy(texts->start + texts->size, start, (size_t)(end - start));
        texts->size += (size_t)(end - start);
    }
    texts->start[texts->size++] = '\0';
    return 1;
}

static int take_string(Scan *scan, int what, int32_t codes[2]) {
    const unsigned char *start = scan->at;
    int escaped;
    return pass_string(scan, &escaped) &&
           look_up(scan, what, start, (size_t)(scan->at - start), codes);
}

static int take_endpoint(Scan *scan, int what, int32_t codes[2]) {
    const unsigned char *start = scan->at;
    return pass_object(scan) && look_up(scan, what, start, (size_t)(scan->at - start), codes);
}

/* Digits of a number that is no less than zero and surely fits. */
static int take_number(Scan *scan, int64_t *number) {
    const unsigned char *start = scan->at;
    int64_t value = 0;
    for (; *scan->at >= '0' && *scan->at <= '9'; scan->at++) {
        if (scan->at - start == 18)
            return 0;
        value = value * 10 + (*scan->at - '0');
    }
    *number = value;
    return scan->at > start && (*start != '0' || scan->at - start == 1);
}

static int take_truth(Scan *scan, uint8_t *flags, int flag) {
    if (pass_word(scan, "false"))
        return 1;
    *flags |= (uint8_t)flag;
    return pass_word(scan, "true");
}

/* What each character stands for as a hex digit in lower case; 16 for all others. */
static unsigned char digit_of[256];

static void learn_digits(void) {
    memset(digit_of, 16, sizeof digit_of);
    for (int digit = 0; digit < 16; digit++)
        digit_of[(unsigned char)"0123456789abcdef"[digit]] = (unsigned char)digit;
}

static int take_half(const unsigned char *digits, uint64_t *number) {
    unsigned char seen = 0;
    uint64_t value = 0;
    for (int i = 0; i < 16; i++) {
        unsigned char digit = digit_of[digits[i]];
        seen |= digit;
        value = value << 4 | digit;
    }
    *number = value;
    return seen < 16;
}

/* A string of 16 hex digits, or of 32 where there is a place for the higher ones. */
static int take_id(Scan *scan, uint64_t *high, uint64_t *low) {
    const unsigned char *start = scan->at;
    Py_ssize_t left = scan->end - start;
    if (left < 18 || *start != '"')
        return 0;
    if (start[17] == '"') {
        scan->at += 18;
        return take_half(start + 1, low);
    }
    if (high == NULL || left < 34 || start[33] != '"')
        return 0;
    scan->at += 34;
    return take_half(start + 1, high) && take_half(start + 17, low);
}

/* -- fields of a span --------------------------------------------------------------------------- */

static int take_tags(Scan *scan, Row *row) {
    size_t first = scan->keys.size;
    int32_t codes[2];
    int more;
    if (!pass(scan, '{'))
        return 0;
    skip(scan);
    if (pass(scan, '}'))
        return 1;
    do {
        if (!take_string(scan, KEY, codes) || !append(&scan->keys, codes, sizeof codes[0]))
            return 0;
        skip(scan);
        if (!pass(scan, ':'))
            return 0;
        skip(scan);
        if (!take_text(scan, &scan->values))
            return 0;
    } while ((more = another(scan, '}')) > 0);
    size_t size = scan->keys.size - first;
    row->codes[TAGS] = (int32_t)(size / sizeof codes[0]);
    if (more < 0 ||
        !look_up(scan, SHAPE, (unsigned char *)scan->keys.start + first, size, codes))
        return 0;
    row->codes[SHAPE_CODE] = codes[0];
    row->flags |= (uint8_t)codes[1];
    return 1;
}

static int take_note(Scan *scan, int64_t *time) {
    int timed = 0, valued = 0, more;
    if (!pass(scan, '{'))
        return 0;
    skip(scan);
    do {
        int is_time = pass_word(scan, "\"timestamp\"");
        if (!is_time && !pass_word(scan, "\"value\""))
            return 0;
        skip(scan);
        if (!pass(scan, ':') || (is_time ? timed++ : valued++))
            return 0;
        skip(scan);
        if (is_time ? !take_number(scan, time) : !take_text(scan, &scan->notes))
            return 0;
    } while ((more = another(scan, '}')) > 0);
    return more == 0 && timed && valued;
}

/* Those that are in order already, as equal ones are to be dropped. */
static int take_notes(Scan *scan, Row *row) {
    int64_t time = 0, last = -1;
    int more;
    if (!pass(scan, '['))
        return 0;
    skip(scan);
    if (pass(scan, ']'))
        return 1;
    do {
        if (!take_note(scan, &time) || time <= last ||
            !append(&scan->note_times, &time, sizeof time))
            return 0;
        last = time;
        row->codes[NOTES]++;
    } while ((more = another(scan, ']')) > 0);
    return more == 0;
}

/* In the order most clients write them. */
enum {
    TRACE_ID_FIELD, PARENT_ID_FIELD, ID_FIELD, KIND_FIELD, NAME_FIELD, TIMESTAMP_FIELD,
    DURATION_FIELD, LOCAL_FIELD, REMOTE_FIELD, NOTES_FIELD, TAGS_FIELD, DEBUG_FIELD, SHARED_FIELD,
    FIELDS
};

#define FIELD(name) {"\"" name "\"", sizeof name + 1}
static const struct {
    const char *name;
    size_t size;
} fields[FIELDS] = {
    FIELD("traceId"), FIELD("parentId"), FIELD("id"), FIELD("kind"), FIELD("name"),
    FIELD("timestamp"), FIELD("duration"), FIELD("localEndpoint"), FIELD("remoteEndpoint"),
    FIELD("annotations"), FIELD("tags"), FIELD("debug"), FIELD("shared"),
};

/* Sought from the one after the last on, which it mostly is. */
static int take_field_name(Scan *scan) {
    size_t left = (size_t)(scan->end - scan->at);
    for (int i = 0; i < FIELDS; i++) {
        scan->field = scan->field + 1 < FIELDS ? scan->field + 1 : 0;
        size_t size = fields[scan->field].size;
        if (size <= left && memcmp(fields[scan->field].name, scan->at, size) == 0) {
            scan->at += size;
            return 1;
        }
    }
    return 0;
}

static int take_kind(Scan *scan, Row *row) {
    int32_t codes[2];
    int good = take_string(scan, KIND, codes);
    if (good)
        row->flags |= (uint8_t)codes[0];
    return good;
}

static int take_name(Scan *scan, Row *row) {
    int32_t codes[2];
    int good = take_string(scan, NAME, codes);
    if (good)
        row->codes[NAME_CODE] = codes[0];
    return good;
}

static int take_field(Scan *scan, Row *row) {
    switch (scan->field) {
    case TRACE_ID_FIELD:
        return take_id(scan, &row->high, &row->low);
    case PARENT_ID_FIELD:
        return take_id(scan, NULL, &row->parent);
    case ID_FIELD:
        return take_id(scan, NULL, &row->id);
    case KIND_FIELD:
        return take_kind(scan, row);
    case NAME_FIELD:
        return take_name(scan, row);
    case TIMESTAMP_FIELD:
        return take_number(scan, &row->timestamp);
    case DURATION_FIELD:
        return take_number(scan, &row->duration);
    case LOCAL_FIELD:
        return take_endpoint(scan, LOCAL, &row->codes[SERVICE]);
    case REMOTE_FIELD:
        return take_endpoint(scan, REMOTE, &row->codes[REMOTE_SERVICE]);
    case NOTES_FIELD:
        return take_notes(scan, row);
    case TAGS_FIELD:
        return take_tags(scan, row);
    case DEBUG_FIELD:
        return take_truth(scan, &row->flags, DEBUG);
    default:
        return take_truth(scan, &row->flags, SHARED);
    }
}

static int take_fields(Scan *scan, Row *row) {
    unsigned seen = 0;
    int more;
    if (!pass(scan, '{'))
        return 0;
    skip(scan);
    scan->field = FIELDS - 1;
    do {
        if (!take_field_name(scan) || seen & 1u << scan->field)
            return 0;
        seen |= 1u << scan->field;
        skip(scan);
        if (!pass(scan, ':'))
            return 0;
        skip(scan);
        if (!take_field(scan, row))
            return 0;
    } while ((more = another(scan, '}')) > 0);
    return more == 0;
}

static int take_span(Scan *scan) {
    Row row = {0};
    for (int i = 0; i < TAGS; i++)
        row.codes[i] = scan->scanner->nothing;
    if (!take_fields(scan, &row) || row.id == 0 || (row.high | row.low) == 0)
        return 0;
    if (row.parent == row.id)
        row.parent = 0;
    if ((row.flags & 7) == CLIENT)
        row.flags &= (uint8_t)~SHARED;
    return append(&scan->rows, &row, sizeof row);
}

static int take_spans(Scan *scan) {
    int more = 0;
    skip(scan);
    if (!pass(scan, '['))
        return 0;
    skip(scan);
    if (!pass(scan, ']'))
        do {
            if (!take_span(scan))
                return 0;
        } while ((more = another(scan, ']')) > 0);
    skip(scan);
    return more == 0 && scan->at == scan->end;
}

/* -- what is given back ------------------------------------------------------------------------- */

/* Bytes of numbers: column after column of the rows, then another column. */
#define BY_COLUMN(type, rows, count, columns, of_row, more)                                        \
    PyObject *made = PyBytes_FromStringAndSize(                                                    \
        NULL, (Py_ssize_t)((count) * (columns) * sizeof(type) + (more).size));                     \
    if (made != NULL) {                                                                            \
        char *at = PyBytes_AS_STRING(made);                                                        \
        for (size_t column = 0; column < (columns); column++)                                      \
            for (size_t i = 0; i < (count); i++, at += sizeof(type))                               \
                memcpy(at, (const char *)&(rows)[i] + offsetof(Row, of_row) + column * sizeof(type),   \
                       sizeof(type));                                                              \
        if ((more).size)                                                                           \
            memcpy(at, (more).start, (more).size);                                                 \
    }                                                                                              \
    return made

static PyObject *longs(const Scan *scan, const Row *rows, size_t count) {
    BY_COLUMN(uint64_t, rows, count, 6, high, scan->note_times);
}

static PyObject *codes(const Scan *scan, const Row *rows, size_t count) {
    BY_COLUMN(int32_t, rows, count, CODES, codes, scan->keys);
}

static PyObject *flags(const Row *rows, size_t count) {
    const Column none = {NULL, 0, 0};
    BY_COLUMN(uint8_t, rows, count, 1, flags, none);
}

static PyObject *given(const Scan *scan) {
    const Row *rows = (const Row *)scan->rows.start;
    size_t count = scan->rows.size / sizeof(Row);
    return Py_BuildValue("NNNy#y#", longs(scan, rows, count), codes(scan, rows, count),
                         flags(rows, count), scan->values.size ? scan->values.start : "",
                         (Py_ssize_t)scan->values.size, scan->notes.size ? scan->notes.start : "",
                         (Py_ssize_t)scan->notes.size);
}

/* Whether all of it is UTF-8: strings are only looked at where they have to be. */
static int is_text(const unsigned char *at, Py_ssize_t size) {
    uint64_t seen = 0;
    Py_ssize_t place = 0;
    for (; size - place >= 8; place += 8)
        seen |= word_at(at + place);
    for (; place < size; place++)
        seen |= at[place];
    if (!(seen & EACH(0x80)))
        return 1;
    PyObject *text = PyUnicode_DecodeUTF8((const char *)at, size, NULL);
    if (text == NULL && PyErr_ExceptionMatches(PyExc_UnicodeDecodeError))
        PyErr_Clear();
    Py_XDECREF(text);
    return text != NULL;
}

static PyObject *scanner_scan(Scanner *scanner, PyObject *args) {
    PyObject *body, *made = NULL;
    Scan scan = {.scanner = scanner};
    if (!PyArg_ParseTuple(args, "SO:scan", &body, &scan.codes_of))
        return NULL;
    scan.at = (const unsigned char *)PyBytes_AS_STRING(body);
    scan.end = scan.at + PyBytes_GET_SIZE(body);
    if (is_text(scan.at, PyBytes_GET_SIZE(body)) && take_spans(&scan))
        made = given(&scan);
    Column *columns[] = {&scan.rows, &scan.keys, &scan.values, &scan.note_times, &scan.notes};
    for (size_t i = 0; i < sizeof columns / sizeof *columns; i++)
        PyMem_Free(columns[i]->start);
    if (made == NULL && !PyErr_Occurred())
        Py_RETURN_NONE;
    return made;
}

/* -- the module --------------------------------------------------------------------------------- */

static PyObject *scanner_new(PyTypeObject *type, PyObject *args, PyObject *Py_UNUSED(named)) {
    int nothing;
    if (!PyArg_ParseTuple(args, "i:Scanner", &nothing))
        return NULL;
    Scanner *scanner = (Scanner *)type->tp_alloc(type, 0);
    if (scanner == NULL)
        return NULL;
    scanner->nothing = nothing;
    scanner->places = PyMem_Calloc(PLACES, sizeof(Place));
    if (scanner->places == NULL) {
        Py_DECREF(scanner);
        return PyErr_NoMemory();
    }
    return (PyObject *)scanner;
}

static void scanner_dealloc(Scanner *scanner) {
    PyTypeObject *type = Py_TYPE(scanner);
    for (size_t i = 0; scanner->places != NULL && i < PLACES; i++)
        PyMem_Free(scanner->places[i].raw);
    PyMem_Free(scanner->places);
    type->tp_free((PyObject *)scanner);
    Py_DECREF(type);
}

static PyMethodDef scanner_methods[] = {
    {"scan", (PyCFunction)scanner_scan, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot scanner_slots[] = {
    {Py_tp_new, scanner_new},
    {Py_tp_dealloc, scanner_dealloc},
    {Py_tp_methods, scanner_methods},
    {0, NULL},
};

static PyType_Spec scanner_spec = {
    .name = "lookout_server.ingest._zipkin_scan.Scanner",
    .basicsize = sizeof(Scanner),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = scanner_slots,
};

static int module_exec(PyObject *module) {
    PyObject *type = PyType_FromModuleAndSpec(module, &scanner_spec, NULL);
    if (type == NULL)
        return -1;
    int failed = PyModule_AddType(module, (PyTypeObject *)type);
    Py_DECREF(type);
    learn_digits();
    return failed;
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
    {0, NULL},
};

static PyModuleDef definition = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "_zipkin_scan",
    .m_slots = module_slots,
};

PyMODINIT_FUNC PyInit__zipkin_scan(void) { return PyModuleDef_Init(&definition); }
