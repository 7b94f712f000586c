/* Keeps addresses out of the log of this process, Dovecot's own lines
   included: the path of a mailbox contains its address, and Dovecot names
   files that it cannot read.

   In a path, the mailbox directory is replaced by its inode number. The
   operator can find the directory by it, but a reader of the log alone
   cannot:

     find MAILBOXES_DIR -maxdepth 1 -inum NUMBER

   Any other address in a warning or an error becomes "*@" and its domain. A
   client's IP address after it, as in the prefixes of auth, is removed, too.

   In informational lines, where lmtp logs why a delivery failed, only paths
   are replaced. The settings login_log_format_elements and mail_log_prefix
   keep other addresses out of them; a Message-ID stays. Debug lines, which an
   operator has to enable, are not changed. */

#include "chatmail-common.h"

#include "str.h"

#include <ctype.h>
#include <sys/stat.h>

static failure_callback_t *chatmail_log_next_error, *chatmail_log_next_info;

static bool chatmail_log_is_local(char c)
{
	return i_isalnum(c) || strchr("._-+%=~", c) != NULL;
}

static bool chatmail_log_is_domain(char c)
{
	return i_isalnum(c) || strchr(".-:[]", c) != NULL;
}

static bool chatmail_log_is_path(char c)
{
	return !i_isspace(c) && strchr("<>()\"'=,;", c) == NULL;
}

/* Appends the inode number of the file at path..end; FALSE if there is none. */
static bool
chatmail_log_inode(const char *path, const char *end, string_t *out)
{
	struct stat st;

	if (*path != '/' || lstat(t_strdup_until(path, end), &st) < 0)
		return FALSE;
	str_printfa(out, "inode:%llu", (unsigned long long)st.st_ino);
	return TRUE;
}

/* The end of the IP address that follows an address after a comma; p itself if
   there is none. */
static const char *chatmail_log_skip_ip(const char *p)
{
	const char *ip = p + 1;

	if (*p != ',')
		return p;
	while (i_isxdigit(*ip) || *ip == '.' || *ip == ':')
		ip++;
	return *ip == ',' || *ip == ')' ? ip : p;
}

enum chatmail_log_what {
	CHATMAIL_LOG_ALL_ADDRESSES,
	CHATMAIL_LOG_PATHS
};

/* The result is allocated from the data stack. */
static const char *
chatmail_log_without_addresses(const char *text, enum chatmail_log_what what)
{
	string_t *out;
	const char *at, *local, *path, *end, *done = text;

	if (text == NULL || strchr(text, '@') == NULL)
		return text;
	out = t_str_new(256);
	for (at = strchr(text, '@'); at != NULL; at = strchr(at + 1, '@')) {
		for (local = at; local > done && chatmail_log_is_local(local[-1]); )
			local--;
		for (end = at + 1; *end != '\0' && chatmail_log_is_domain(*end); )
			end++;
		/* A colon or dot after it belongs to the sentence. */
		while (end > at + 1 && (end[-1] == ':' || end[-1] == '.'))
			end--;
		if (local == at || end == at + 1)
			continue;
		for (path = local; path > done && chatmail_log_is_path(path[-1]); )
			path--;
		if (what == CHATMAIL_LOG_PATHS && *path != '/')
			continue;
		str_append_data(out, done, local - done);
		if (!chatmail_log_inode(path, end, out)) {
			str_append(out, "*@");
			str_append_data(out, at + 1, end - at - 1);
			end = chatmail_log_skip_ip(end);
		}
		done = end;
		at = end - 1;
	}
	str_append(out, done);
	return str_c(out);
}

static void ATTR_FORMAT(3, 4)
chatmail_log_pass_on(failure_callback_t *next, const struct failure_context *ctx,
		     const char *format, ...)
{
	va_list args;

	va_start(args, format);
	next(ctx, format, args);
	va_end(args);
}

/* The log type is inserted into the prefix at log_prefix_type_pos. */
static void
chatmail_log_prefix(struct failure_context *ctx, enum chatmail_log_what what)
{
	const char *prefix = ctx->log_prefix, *head;

	if (prefix == NULL)
		return;
	head = chatmail_log_without_addresses(
		t_strndup(prefix, ctx->log_prefix_type_pos), what);
	ctx->log_prefix = t_strconcat(head, chatmail_log_without_addresses(
		prefix + ctx->log_prefix_type_pos, what), NULL);
	ctx->log_prefix_type_pos = strlen(head);
}

static void ATTR_FORMAT(4, 0)
chatmail_log_line(failure_callback_t *next, enum chatmail_log_what what,
		  const struct failure_context *ctx, const char *format,
		  va_list args)
{
	struct failure_context own = *ctx;
	int old_errno = errno;

	T_BEGIN {
		const char *text = t_strdup_vprintf(format, args);

		chatmail_log_prefix(&own, what);
		chatmail_log_pass_on(next, &own, "%s",
				     chatmail_log_without_addresses(text, what));
	} T_END;
	errno = old_errno;
}

static void ATTR_FORMAT(2, 0)
chatmail_log_error(const struct failure_context *ctx, const char *format,
		   va_list args)
{
	chatmail_log_line(chatmail_log_next_error, CHATMAIL_LOG_ALL_ADDRESSES,
			  ctx, format, args);
}

static void ATTR_FORMAT(2, 0)
chatmail_log_info(const struct failure_context *ctx, const char *format,
		  va_list args)
{
	chatmail_log_line(chatmail_log_next_info, CHATMAIL_LOG_PATHS,
			  ctx, format, args);
}

void chatmail_log_init(void)
{
	failure_callback_t *fatal, *error, *info, *debug;

	i_get_failure_handlers(&fatal, &error, &info, &debug);
	if (error == chatmail_log_error)
		return;
	chatmail_log_next_error = error;
	chatmail_log_next_info = info;
	i_set_error_handler(chatmail_log_error);
	i_set_info_handler(chatmail_log_info);
}

void chatmail_log_deinit(void)
{
	failure_callback_t *fatal, *error, *info, *debug;

	i_get_failure_handlers(&fatal, &error, &info, &debug);
	if (error == chatmail_log_error)
		i_set_error_handler(chatmail_log_next_error);
	if (info == chatmail_log_info)
		i_set_info_handler(chatmail_log_next_info);
}
