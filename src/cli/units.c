/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "base/num.h"
#include "cli/units.h"

#define SIZE_WHOLE_MAX (1u << 24)  /* of the digits before the unit: no product overflows */
#define SIZE_DECIMALS_MAX 6
#define DURATION_MAX 100000000u

/** bad_size() - The error, with what was probably meant. */
static int bad_size(const char *option, const char *text, size_t number_len, struct error *err)
{
	const char *unit = text + number_len;

	err_set(err, ERR_USAGE, 0, "--%s: \"%s\" is not a size", option, text);
	if (number_len && unit[0] && strchr("MmGg", unit[0]) && unit[1] && strchr("Bbi", unit[1]))
		return err_hint(err, "use %.*s%c", (int)number_len, text, unit[0]);
	return err_hint(err, "use 512M, 1G or 1.5G (a bare number is MiB)");
}

int unit_size_mib(const char *option, const char *text, uint64_t min, uint64_t max, uint64_t *mib, struct error *err)
{
	size_t n = strspn(text, "0123456789"), decimals = 0, number_len = n;
	uint64_t whole = 0, fraction = 0, scale = 1, value;
	char digits[16];
	bool giga, mega;

	if (text[n] == '.') {
		decimals = strspn(text + n + 1, "0123456789");
		number_len = n + 1 + decimals;
	}
	giga = text[number_len] == 'G' || text[number_len] == 'g';
	mega = text[number_len] == 'M' || text[number_len] == 'm';
	if (n == 0 || n >= sizeof(digits) || (text[number_len] && !giga && !mega) ||
	    (text[number_len] && text[number_len + 1]))
		return bad_size(option, text, number_len, err);
	if (number_len != n && (!giga || decimals == 0 || decimals > SIZE_DECIMALS_MAX))
		return bad_size(option, text, 0, err);
	snprintf(digits, sizeof(digits), "%.*s", (int)n, text);
	if (!num_parse_u64(digits, SIZE_WHOLE_MAX, &whole))
		return bad_size(option, text, 0, err);
	for (size_t i = 0; i < decimals; i++) {
		fraction = fraction * 10 + (uint64_t)(text[n + 1 + i] - '0');
		scale *= 10;
	}
	value = giga ? whole * 1024 + fraction * 1024 / scale : whole;
	if (value < min || value > max) {
		err_set(err, ERR_USAGE, 0, "--%s: \"%s\" is out of range", option, text);
		return err_hint(err, "use a size from %lluM to %lluG", (unsigned long long)min,
				(unsigned long long)(max / 1024));
	}
	*mib = value;
	return 0;
}

int unit_duration(const char *option, const char *text, uint64_t *seconds, struct error *err)
{
	size_t n = strspn(text, "0123456789");
	char digits[16];
	uint64_t unit = text[n] == 'm' ? 60 : text[n] == 'h' ? 3600 : 1, value = 0;
	bool known = !text[n] || (strchr("smh", text[n]) && !text[n + 1]);

	if (n > 0 && n < sizeof(digits) && known) {
		snprintf(digits, sizeof(digits), "%.*s", (int)n, text);
		if (num_parse_u64(digits, DURATION_MAX, &value) && value) {
			*seconds = value * unit;
			return 0;
		}
	}
	err_set(err, ERR_USAGE, 0, "--%s: \"%s\" is not a duration", option, text);
	return err_hint(err, "use 30s, 5m or 1h");
}

int unit_duration_ms(const char *option, const char *text, bool zero, uint64_t *ms, struct error *err)
{
	size_t n = strspn(text, "0123456789");
	char digits[16];
	uint64_t seconds;

	if (zero && strcmp(text, "0") == 0) {
		*ms = 0;
		return 0;
	}
	if (n > 0 && n < sizeof(digits) && strcmp(text + n, "ms") == 0) {
		snprintf(digits, sizeof(digits), "%.*s", (int)n, text);
		if (num_parse_u64(digits, DURATION_MAX, ms) && (zero || *ms))
			return 0;
		err_set(err, ERR_USAGE, 0, "--%s: \"%s\" is not a duration", option, text);
		return err_hint(err, "use 500ms, 30s, 5m or 1h");
	}
	if (unit_duration(option, text, &seconds, err) < 0)
		return -(int)err->code;
	*ms = seconds * 1000;
	return 0;
}

const char *unit_size_text(uint64_t bytes, char to[24])
{
	if (bytes < 1024)
		snprintf(to, 24, "%llu B", (unsigned long long)bytes);
	else if (bytes < MIB(1))
		snprintf(to, 24, "%.1f KiB", (double)bytes / 1024);
	else if (bytes < GIB(1))
		snprintf(to, 24, "%.1f MiB", (double)bytes / (double)MIB(1));
	else
		snprintf(to, 24, "%.2f GiB", (double)bytes / (double)GIB(1));
	return to;
}

/** limit_value() - A number or "unlimited". */
static bool limit_value(const char *text, uint64_t *out)
{
	if (strcmp(text, "unlimited") == 0) {
		*out = UINT64_MAX;
		return true;
	}
	return num_parse_u64(text, UINT64_MAX, out);
}

int unit_rlimit(const char *option, const char *text, struct msg_rlimit *out, struct error *err)
{
	char copy[128];
	char *value, *hard;

	if (strlen(text) < sizeof(copy)) {
		snprintf(copy, sizeof(copy), "%s", text);
		value = strchr(copy, '=');
		if (value)
			*value++ = '\0';
		hard = value ? strchr(value, ':') : NULL;
		if (hard)
			*hard++ = '\0';
		for (size_t i = 0; value && i < MSG_RLIMIT_NAMES; i++) {
			if (strcmp(copy, msg_rlimit_names[i]) != 0)
				continue;
			out->resource = i;
			if (limit_value(value, &out->soft) && limit_value(hard ? hard : value, &out->hard) &&
			    out->soft <= out->hard)
				return 0;
			break;
		}
	}
	err_set(err, ERR_USAGE, 0, "--%s: \"%.100s\" is not NAME=SOFT[:HARD]", option, text);
	return err_hint(err, "for example nofile=1024:4096; names are those of ulimit, soft is at most hard");
}

int unit_env(const char *option, const char *text, const char **out, struct error *err)
{
	const char *value;
	char *copy;

	if (text[0] == '=' || !text[0])
		return err_set(err, ERR_USAGE, 0, "--%s: \"%.100s\" is not KEY=VALUE", option, text);
	if (strncmp(text, "MSB_", 4) == 0) {
		err_set(err, ERR_USAGE, 0, "--%s: \"%.100s\": names beginning with MSB_ are reserved", option, text);
		return err_hint(err, "choose another name");
	}
	if (strchr(text, '=')) {
		*out = text;
		return 0;
	}
	value = getenv(text);
	if (!value) {
		err_set(err, ERR_USAGE, 0, "--%s: %.100s is not set on this host", option, text);
		return err_hint(err, "use -e %.60s=VALUE", text);
	}
	if (asprintf(&copy, "%s=%s", text, value) < 0)
		return err_set(err, ERR_NO_MEMORY, 0, "out of memory");
	*out = copy;
	return 0;
}

int unit_program(const char *option, const char *text, struct error *err)
{
	if (text[0] && strcmp(text, "/") != 0 && !strpbrk(text, " \t\r\n"))
		return 0;
	return err_set(err, ERR_USAGE, 0, "--%s: \"%s\" is not a program", option, text);
}

int unit_guest_path(const char *option, const char *text, struct error *err)
{
	return text[0] == '/' ? 0 :
				err_set(err, ERR_USAGE, 0, "--%s: \"%s\" is not an absolute path", option, text);
}
